"""Render every file below a directory of templates, on the controller."""

from __future__ import annotations

from pathlib import Path

from ansible.errors import AnsibleLookupError
from ansible.plugins.loader import lookup_loader
from ansible.plugins.lookup import LookupBase

DOCUMENTATION = """
name: rendered_tree
short_description: Render every file below a directory of templates
description:
  - Returns one dictionary, relative path to content, for all files below each given directory.
  - A file that ends in C(.j2) is rendered with the task's variables and loses the suffix; others are taken as they are.
  - A template that renders to nothing gives no file.
  - A directory that does not exist gives an empty dictionary.
options:
  _terms:
    description: Directories, absolute.
    required: true
"""


class LookupModule(LookupBase):
    """The lookup `rendered_tree`."""

    def run(self, terms, variables=None, **kwargs):
        """Return a list with one `{relative path: content}` a term."""
        self.set_options(var_options=variables, direct=kwargs)
        template = lookup_loader.get("ansible.builtin.template", loader=self._loader, templar=self._templar)
        trees = []
        for term in terms:
            root = Path(term)
            tree = {}
            for path in sorted(p for p in root.rglob("*") if p.is_file()):
                name = path.relative_to(root)
                if path.suffix == ".j2":
                    text = template.run([str(path)], variables=variables)[0]
                    # Ansible has nothing where Jinja has an empty text.
                    if text is not None and text.strip():
                        tree[str(name.with_suffix(""))] = text
                else:
                    try:
                        tree[str(name)] = path.read_text(encoding="utf-8")
                    except UnicodeDecodeError as error:
                        raise AnsibleLookupError(f"{path} is not UTF-8 text") from error
            trees.append(tree)
        return trees
