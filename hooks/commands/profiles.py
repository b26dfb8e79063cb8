"""`leukocds profiles`: the FHIR profiles of what we write: what there is, and onto a server with it."""

import click


@click.group(short_help="Show our FHIR profiles, or install them on a server.")
def profiles() -> None:
    """The FHIR R4 profiles of what LeukoCDS writes: docs/fhir.md explains them."""


@profiles.command("list", short_help="Show what there is.")
def list_() -> None:
    """Print type, canonical address and title of each definition, in the order in which they are installed."""
    from fhir_profiles.definitions import PACKAGE, definitions

    for resource in definitions():
        click.echo(
            "\t".join((resource["resourceType"], resource["url"], resource.get("title", resource["name"])))
        )
    click.echo(f"The same as a FHIR package: {PACKAGE}", err=True)


@profiles.command(short_help="Put the definitions on a FHIR server.")
@click.argument("url", metavar="[URL]", required=False)
def install(url: str | None) -> None:
    """Put the definitions on the FHIR server at URL (by default LEUKOCDS_FHIR_URL) in one transaction.

    Repeating it brings them up to date. Our credentials go to LEUKOCDS_FHIR_URL only.
    """
    from dataclasses import replace

    from cds.errors import ConfigurationError
    from cds.settings import Settings
    from fhir_profiles.definitions import install_bundle
    from hooks.commands.upstreams import fhir_of

    settings = Settings.from_env()
    if url is not None and url.rstrip("/") != settings.fhir_url:
        settings = replace(settings, fhir_url=url, fhir_token="", fhir_client_id="", fhir_token_url="")
    if not settings.fhir_url:
        raise ConfigurationError("no server: give its address, or set LEUKOCDS_FHIR_URL")
    bundle = install_bundle()
    # A server indexes the search parameter and the profiles before it answers.
    fhir_of(replace(settings, read_timeout_s=max(120.0, settings.read_timeout_s))).transaction(bundle)
    click.echo(f"{len(bundle['entry'])} definitions are on {settings.fhir_url}")
