# SPDX-FileCopyrightText: The Baleine authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How Sphinx makes the documentation site (`make docs`): of this checkout alone, without a network."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from docutils import nodes

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / ".build"))

from baleine_cli import manual  # noqa: E402
from baleine_cli.commands import COMMANDS  # noqa: E402

project = "Baleine"
author = copyright = "The Baleine authors"
release = re.findall(r"^version: *(\S+)", (ROOT / "galaxy.yml").read_text(), re.MULTILINE)[0]

extensions = ["myst_parser", "sphinx_antsibull_ext"]
html_theme = "furo"
#: antsibull's tables follow the reader's system, the theme also its own button: told by the theme, they cannot differ.
html_theme_options = {
    "dark_css_variables": {
        "antsibull-table-background-header": "#48484b",
        "antsibull-table-background-even": "#1c1c1e",
        "antsibull-table-background-odd": "#242426",
        "antsibull-table-border": "#656569",
        "antsibull-narrowtable-background": "#48484b",
        "antsibull-option-type": "#ff93ff",
        "antsibull-option-elements": "#ff93ff",
        "antsibull-option-required": "#ff8282",
        "antsibull-option-version-added": "#71d471",
        "antsibull-option-aliases": "#71d471",
        "antsibull-option-default": "#adadff",
        "antsibull-option-sample": "#adadff",
        "antsibull-option-sample-header": "white",
        "antsibull-attribute-support-none": "#ff8282",
        "antsibull-attribute-support-partial": "#b6b600",
        "antsibull-attribute-support-full": "#00cc00",
    },
}
html_title = f"Baleine {release}"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_show_sphinx = False
html_copy_source = False
html_use_index = False
highlight_language = "none"
pygments_style = "ansible"
smartquotes = False  # what is typed stays as it is typed: -- is two dashes
nitpicky = True
myst_heading_anchors = 3

#: What our pages refer to of Ansible's own. Its inventory would answer that, and need a network.
ANSIBLE = "https://docs.ansible.com/projects/ansible/latest"
ANSIBLE_PAGES = {
    "action_plugins": "plugins/action.html",
    "ansible_configuration_settings": "reference_appendices/config.html",
    "ansible_pipelining": "reference_appendices/config.html#ansible-pipelining",
    "common_return_values": "reference_appendices/common_return_values.html",
}
ANSIBLE_PLUGIN = re.compile(r"ansible_collections\.(ansible)\.(\w+)\.(\w+)$")

#: Pages in French: screen readers and browsers go by what a page says of itself.
FRENCH = ("README.fr", "commandes", "collection/docsite/demarrage")

#: Where a page of this site lies elsewhere than its file in the checkout; changelogs is a folder, and no page.
LINKS = (("](docs/docsite/rst/", "](collection/docsite/"), ("[changelogs](changelogs/)", "`changelogs`"))


def answer(_app: Any, _env: Any, node: Any, content: Any) -> Any:
    """Answer a reference to Ansible's documentation, whose pages of plugins are named by a rule; None for any other."""
    target = node["reftarget"].lower()
    plugin = ANSIBLE_PLUGIN.match(target)
    page = "collections/{}/{}/{}.html".format(*plugin.groups()) if plugin else ANSIBLE_PAGES.get(target)
    return page and nodes.reference("", "", content, refuri=f"{ANSIBLE}/{page}", internal=False)


def fit_in(_app: Any, page: str, source: list[str]) -> None:
    """Let links of the checkout's files lead to pages of this site, and leave out contents, which the theme has."""
    for written, here in LINKS:
        source[0] = source[0].replace(written, here)
    if page.startswith("collection/"):
        source[0] = re.sub(r"^\.\. contents::\n(   :.*\n)+", "", source[0], flags=re.MULTILINE)
    elif page.startswith("roles/"):  # READMEs link to these
        source[0] = "---\norphan: true\n---\n" + source[0]


def name_language(_app: Any, page: str, _template: str, context: dict[str, Any], _tree: Any) -> None:
    context["language"] = "fr" if page in FRENCH else "en"


def reference(french: bool) -> Iterator[str]:
    """Yield the lines of the page about all commands, made of the table that the man page is made of."""
    title = "Toutes les commandes" if french else "Every command"
    yield from (title, "=" * len(title), "", escape(manual.INTRODUCTION[french]), "", escape(manual.CODES[french]), "")
    kind = ""
    for command in COMMANDS:
        name = f"baleine {command.kind} {command.verb}".replace("  ", " ")
        if command.kind != kind:
            kind = command.kind
            yield from (f"baleine {kind}", "-" * 20, "")
        yield from (name, ("~" if kind else "-") * len(name), "", ".. code-block:: console", "")
        yield from (f"    {manual.synopsis(command, french)}", "", escape(command.fr if french else command.en), "")
        for flag in command.flags:
            names = ", ".join(f"``{word}``" for word in (flag.short, flag.long) if word)
            value = f" *{escape(manual.translate(flag.value, french))}*" if flag.value else ""
            yield from (names + value, f"    {escape(flag.fr if french else flag.en)}", "")
        if command.examples:
            yield from (".. code-block:: console", "", *(f"    $ {example}" for example in command.examples), "")


def escape(words: str) -> str:
    """Return text as reStructuredText prints it."""
    return re.sub(r"([\\*`|_:])", r"\\\1", words)


def write_reference(app: Any) -> None:
    for name, french in (("commands", False), ("commandes", True)):
        (Path(app.srcdir) / f"{name}.rst").write_text("\n".join(reference(french)))


def setup(app: Any) -> None:
    app.connect("builder-inited", write_reference)
    app.connect("source-read", fit_in)
    app.connect("missing-reference", answer)
    app.connect("html-page-context", name_language)
