#!/usr/bin/python
# Copyright: Baleine contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: baleine_image
short_description: Make and remove container images
version_added: 0.1.0
description:
  - An image is one file that holds one ext4 filesystem. Containers are started from copies of it.
  - A tree of Debian, Ubuntu or another of that family is made with C(mmdebstrap), one of Red Hat's
    family with C(dnf), or a copy of another image is the start.
  - Until an image is complete it is not visible; an interrupted build leaves nothing that a later task would take for
    an image.
extends_documentation_fragment:
  - lab.baleine.attributes
options:
  name:
    description:
      - The name of the image, or V(NAME:TAG) for another version of it.
    type: str
    required: true
  state:
    description:
      - V(present) makes the image where there is none, and follows O(rebuild) where there is one.
      - V(absent) removes it. An image that containers use is not removed, the error names them.
    type: str
    choices: [present, absent]
    default: present
  size:
    description:
      - The apparent size of the filesystem, such as V(10G) or V(512M). A bare number is MiB. Files are sparse, what
        is not used costs nothing.
      - The default is V(10G), or the size of O(from_image).
    type: str
  suite:
    description:
      - The suite of the tree, by code name, of Debian, Ubuntu or O(mirror). The default is V(bookworm).
      - Does not go with O(from_image) and O(source).
    type: str
  packages:
    description:
      - Packages to install in the tree, beside a minimal system.
    type: list
    elements: str
    default: []
  mirror:
    description:
      - The mirror packages come from, or a whole line of C(sources.list). The default is that of C(mmdebstrap).
      - Does not go with O(from_image) and O(source).
    type: str
  keyring:
    description:
      - The file on the target that holds the keys which O(suite) is signed with, where the target does not trust them
        already, such as C(/usr/share/keyrings/ubuntu-archive-keyring.gpg). Its name ends in C(.gpg) or C(.asc).
      - It is copied into the tree, for the tree's own apt.
      - Does not go with O(from_image) and O(source).
    type: str
  repositories:
    description:
      - Repositories of rpm packages, for a tree of Red Hat's family, which C(dnf) makes of O(packages) and what these
        need. C(dnf) must be on the target; Debian has a package of it.
      - A package that is not signed with its repository's key is refused, and nothing is left.
      - Does not go with O(from_image), O(source), O(suite), O(mirror) and O(keyring).
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: A name for it, as a file in C(/etc/yum.repos.d) would give in brackets.
        type: str
        required: true
      baseurl:
        description: Its address, by https, http or file. C($releasever) and C($basearch) may be in it.
        type: str
        required: true
      gpgkey:
        description: The public key of its packages, an absolute path on the target, or V(https://…).
        type: str
        required: true
  releasever:
    description:
      - What C($releasever) stands for in O(repositories), such as V(9).
    type: str
  architecture:
    description:
      - The architecture of the tree, as Debian calls it. The default is that of the target.
      - For another one than the target's, the target needs C(qemu-user-static), here and to start a container from it.
      - Does not go with O(from_image) and O(source).
    type: str
    choices: [amd64, arm64, armhf, i386, ppc64el, riscv64, s390x]
  proxy:
    description:
      - The HTTP proxy through which packages, and a O(source) of a server or registry, are fetched. The default for
        packages is the one that the target's own apt uses. It is no part of the image, and changing it rebuilds
        nothing.
    type: str
  from_image:
    description:
      - Start from a copy of this image. When its content changes, this image counts as changed too.
      - Without packages, files and commands it is another name of the same content, of the same digest.
    type: str
  source:
    description:
      - Start from what is no image of Baleine's. Paths are absolute and on the target.
      - V(docker-archive:FILE) is what C(docker save) or C(podman save) wrote, V(oci-archive:FILE) an OCI layout in a
        tar archive, V(oci:DIRECTORY) one in a directory. V(:NAME:TAG) behind it says which image, where there are
        several.
      - V(docker://HOST/NAME:TAG) is an image in a registry; C(skopeo) fetches it, and reads the credentials that
        C(skopeo login) or C(docker login) stored. V(docker://HOST/NAME@sha256:DIGEST) is exactly that one.
      - V(tar:FILE) is a root filesystem in a tar archive, V(dir:DIRECTORY) in a directory.
      - Archives may be packed with gzip, bzip2, xz or zstd.
      - Digests are checked before anything is used. The image keeps the configuration (RV(image.config)), which
        containers follow.
      - V(https://HOST/PATH/NAME.image) is an image that C(baleine image publish) made ready for a web server. It is
        only taken when it is signed by a key that the target trusts for its name (see the role P(lab.baleine.host#role)
        and O(unsigned)).
      - One that was made before the one that is here is refused, unless O(rebuild=always). Where a server or registry
        cannot be asked and the image is there, it is kept, and a warning says so.
      - O(packages), O(files) and O(commands) are applied on top. What these run are programs of that tree, as root.
      - When the content of the source changes, this image counts as changed too; where it lies does not matter. To know
        that, a tar archive or a directory is read, and a registry is asked.
      - Does not go with O(from_image), O(suite), O(mirror), O(keyring) and O(architecture).
    type: str
  unsigned:
    description:
      - Whether an O(source) of a web server is taken without a signature, on the word of the server's certificate.
    type: bool
    default: false
  ca_certificate:
    description:
      - A file on the target, in PEM form, of the certificates that may vouch for the server of an O(source). The
        default are those that the target trusts.
    type: path
  insecure:
    description:
      - Believe the registry of a O(source) although it has no TLS, or a certificate that nobody vouches for.
    type: bool
    default: false
  from_container:
    description:
      - Make the image of this container's disk as it is, whether it runs or not. One that runs goes on; what it writes
        waits for the copy.
      - The image is made anew when its container started from another content than then, or with O(rebuild=always).
        What the container itself writes is no change, as it writes all the time. A container that is gone changes
        nothing.
      - Goes with O(name), O(state) and O(rebuild) only.
    type: str
  files:
    description:
      - Files to write into the tree, before O(commands) are run.
      - The manifest keeps a digest of their content only.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Absolute path in the tree.
        type: str
        required: true
      content:
        description: The text of the file.
        type: str
        default: ""
      mode:
        description: Permissions in octal.
        type: str
        default: "0644"
  commands:
    description:
      - Commands to run in the tree, each by its own C(/bin/sh -c). They see the tree, a minimal C(/dev), C(/proc),
        and the network of the host.
      - They are kept in the manifest; give no secret to them.
    type: list
    elements: str
    default: []
  rebuild:
    description:
      - V(on_change) makes the image anew when what it is made from differs from what was asked for then.
      - V(never) keeps it; a warning says that the request differs.
      - V(always) makes it anew every time.
      - An image that was edited by hand is only replaced by V(always).
      - Containers of the older content are not changed.
    type: str
    choices: [on_change, never, always]
    default: on_change
seealso:
  - module: lab.baleine.baleine_container
"""

EXAMPLES = r"""
- name: A Debian image with Apache
  lab.baleine.baleine_image:
    name: apache2
    size: 10G
    packages:
      - apache2

- name: A reverse proxy made from it
  lab.baleine.baleine_image:
    name: apache2_reverse
    from_image: apache2
    commands:
      - a2enmod proxy proxy_http

- name: An image that somebody else made, from a web server
  lab.baleine.baleine_image:
    name: apache2
    source: https://www.example.org/images/apache2.image

- name: What a container has become
  lab.baleine.baleine_image:
    name: apache2:configured
    from_container: web1

- name: A tree of Red Hat's family
  lab.baleine.baleine_image:
    name: rocky
    repositories:
      - name: baseos
        baseurl: https://mirror.example.org/rocky/$releasever/BaseOS/$basearch/os/
        gpgkey: /etc/pki/rpm-gpg/RPM-GPG-KEY-Rocky-9
    releasever: "9"
    packages:
      - bash
      - coreutils
      - dnf

- name: No such image
  lab.baleine.baleine_image:
    name: apache2_reverse
    state: absent
"""

RETURN = r"""
image:
  description: What is true of the image after the task. Empty where there is none, and in check mode where
    something would change.
  returned: success
  type: dict
  contains:
    name:
      description: The name.
      type: str
      returned: always
    state:
      description: V(present), or V(missing) when the manifest is there and the file is not.
      type: str
      returned: always
    size:
      description: Apparent size in bytes.
      type: int
      returned: always
    allocated:
      description: Bytes that the file takes on the host.
      type: int
      returned: always
    path:
      description: The image file.
      type: str
      returned: always
    digest:
      description: Digest of the content; holes and blocks of zeros count the same.
      type: str
      returned: always
    architecture:
      description: What its programs are for, as Debian calls it. Empty where that is not known.
      type: str
      returned: always
    created:
      description: When it was made, in UTC.
      type: str
      returned: always
    edited:
      description: Whether somebody wrote to it since it was made.
      type: bool
      returned: always
    version:
      description: The version of the published image that it was made from; empty where it was not.
      type: str
      returned: always
    signed_by:
      description: The fingerprint of the key that signed it; empty where none did.
      type: str
      returned: always
    recipe:
      description: What it was made from.
      type: dict
      returned: always
    copy:
      description: How its file was copied, if it is a copy of another image's or of a container's disk.
      type: dict
      returned: always
      contains:
        method:
          description: V(reflink), or V(extents) on a filesystem that cannot share blocks.
          type: str
          returned: always
        seconds:
          description: How long it took.
          type: float
          returned: always
        bytes:
          description: The bytes of data that were copied or are shared.
          type: int
          returned: always
    config:
      description:
        - How it wants to be run, where it came from an archive or a registry; what is empty is left out.
        - C(entrypoint) and C(cmd) are lists, C(env) and C(labels) dicts, C(user), C(workdir), C(stop_signal) and
          C(architecture) texts, C(exposed_ports) a list.
      type: dict
      returned: always
    containers:
      description: The containers that use it.
      type: list
      elements: str
      returned: always
actions:
  description: What was done, or would be done in check mode, with the reason of each step.
  returned: success
  type: list
  elements: dict
  sample: [{"action": "build", "resource": "image apache2", "reason": "there is none"}]
drift:
  description: What the host no longer showed of what was recorded.
  returned: success
  type: list
  elements: str
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils import image, image_store, task


def ensure(run: Any, params: dict[str, Any], check: bool) -> dict[str, Any]:
    if params["from_container"] and params["state"] == "present":
        from ..module_utils import commit  # most of the core, which no other image needs

        return task.result_of([commit.ensure(run, params, check)], "image")
    return task.result_of(image_store.ensure(run, [image.request(params)], check), "image")


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "size": {"type": "str"},
            "suite": {"type": "str"},
            "packages": {"type": "list", "elements": "str", "default": []},
            "mirror": {"type": "str"},
            "keyring": {"type": "str", "no_log": False},
            "repositories": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "name": {"type": "str", "required": True},
                    "baseurl": {"type": "str", "required": True},
                    "gpgkey": {"type": "str", "required": True, "no_log": False},
                },
            },
            "releasever": {"type": "str"},
            "architecture": {
                "type": "str",
                "choices": ["amd64", "arm64", "armhf", "i386", "ppc64el", "riscv64", "s390x"],
            },
            "proxy": {"type": "str"},
            "from_image": {"type": "str"},
            "from_container": {"type": "str"},
            "source": {"type": "str"},
            "unsigned": {"type": "bool", "default": False},
            "ca_certificate": {"type": "path"},
            "insecure": {"type": "bool", "default": False},
            "files": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "path": {"type": "str", "required": True},
                    "content": {"type": "str", "default": ""},
                    "mode": {"type": "str", "default": "0644"},
                },
            },
            "commands": {"type": "list", "elements": "str", "default": []},
            "rebuild": {"type": "str", "choices": ["on_change", "never", "always"], "default": "on_change"},
        },
        supports_check_mode=True,
    )
    task.perform(module, ensure)


if __name__ == "__main__":
    main()
