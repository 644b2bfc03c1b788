#!/usr/bin/python
# Copyright: Baleine contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: baleine_image_info
short_description: Say what is true of images
version_added: 0.1.0
description:
  - Reads, and changes nothing.
extends_documentation_fragment:
  - lab.baleine.attributes.info
options:
  names:
    description:
      - The names of the images. The default is all.
      - A image that there is not is no error, see RV(images[].exists).
    type: list
    elements: str
seealso:
  - module: lab.baleine.baleine_image
"""

EXAMPLES = r"""
- name: What there is
  lab.baleine.baleine_image_info:
  register: found

- name: One of them
  lab.baleine.baleine_image_info:
    names: [apache2]
"""

RETURN = r"""
images:
  description: One element for each name, in the order asked for, or by name.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: The name.
      type: str
      returned: always
    exists:
      description: Whether there is one.
      type: bool
      returned: always
    image:
      description: As RV(lab.baleine.baleine_image#module:image). Empty where there is none.
      type: dict
      returned: always
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils import image, manifest, task, units


def main() -> None:
    module = AnsibleModule(argument_spec={"names": {"type": "list", "elements": "str"}}, supports_check_mode=True)

    def work(run, params, check):
        wanted = params["names"] if params["names"] is not None else sorted(manifest.names("image"))
        found = [(name, image.facts(name)) for name in (units.check_name(given, "image") for given in wanted)]
        return {
            "changed": False,
            "images": [{"name": name, "exists": bool(facts), "image": facts} for name, facts in found],
        }

    task.perform(module, work)


if __name__ == "__main__":
    main()
