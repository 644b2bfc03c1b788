#!/usr/bin/python
# Copyright: Baleine contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: baleine_image_export
short_description: Write container images to archives and registries
version_added: 0.1.0
description:
  - Writes an image, with its configuration, to an archive that C(docker load), C(podman load) and others take, or to a
    registry; or its tree alone to a tar archive.
  - It has one layer. The same image gives the same bytes. A file appears under its name when it is whole.
  - Nothing is changed where the target holds this content already. To know that, an archive is read whole, and a
    registry is asked for the image's configuration.
extends_documentation_fragment:
  - lab.baleine.attributes
options:
  name:
    description:
      - The image, V(NAME) or V(NAME:TAG).
    type: str
    required: true
  target:
    description:
      - Where it is written to. Paths are absolute and on the target; what the file held is replaced.
      - V(docker-archive:FILE) or V(oci-archive:FILE) is an archive; V(:NAME:TAG) behind it says what the image is
        called in it, instead of O(name).
      - V(docker://HOST/NAME:TAG) is a registry; C(skopeo) writes to it, and reads the credentials that C(skopeo login)
        or C(docker login) stored.
      - V(tar:FILE) holds the tree alone.
    type: str
    required: true
  insecure:
    description:
      - Believe the registry although it has no TLS, or a certificate that nobody vouches for.
    type: bool
    default: false
  proxy:
    description:
      - The HTTP proxy through which the registry is reached.
    type: str
seealso:
  - module: lab.baleine.baleine_image
"""

EXAMPLES = r"""
- name: An archive for docker load
  lab.baleine.baleine_image_export:
    name: web
    target: docker-archive:/srv/web.tar

- name: The same image in a registry
  lab.baleine.baleine_image_export:
    name: web
    target: docker://registry.example.org/team/web:2
"""

RETURN = r"""
export:
  description: What the target holds after the task.
  returned: success
  type: dict
  contains:
    image:
      description: The image.
      type: str
      returned: always
    target:
      description: Where it is.
      type: str
      returned: always
    content:
      description: The digest of the image's content.
      type: str
      returned: always
actions:
  description: What was done, or would be done in check mode, with the reason of each step.
  returned: success
  type: list
  elements: dict
drift:
  description: Always empty.
  returned: success
  type: list
  elements: str
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils import process, task, transfer


def work(run: process.Runner, params: dict[str, Any], check: bool) -> dict[str, Any]:
    return task.result_of([transfer.ensure(run, transfer.request(params), check)], "export")


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "target": {"type": "str", "required": True},
            "insecure": {"type": "bool", "default": False},
            "proxy": {"type": "str"},
        },
        supports_check_mode=True,
    )
    task.perform(module, work)


if __name__ == "__main__":
    main()
