"""HTML by Jinja2, from templates/. Every value is escaped, but for what is markup already (markupsafe.Markup)."""

from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup


@cache
def environment() -> Environment:
    """The templates. A name that a template is not given is an error, not an empty place."""
    return Environment(loader=FileSystemLoader(Path(__file__).with_name("templates")), autoescape=True,
                       undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)


def render(template: str, **values) -> Markup:
    """A filled-in template."""
    return Markup(environment().get_template(template).render(values))
