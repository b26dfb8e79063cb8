"""`leukocds subscription`: our Subscription on the FHIR server, shown and removed."""

import click

from cds.errors import ConfigurationError
from cds.settings import PREFIX, Settings


@click.group(short_help="Show or remove our Subscription on the FHIR server.")
def subscription() -> None:
    """The Subscription by which LEUKOCDS_FHIR_URL tells of new studies. Workers make it (LEUKOCDS_EARLY_READING)."""


@subscription.command()
def show() -> None:
    """List the Subscriptions of every LeukoCDS on the FHIR server."""
    from cds.subscription import find
    from hooks.commands.upstreams import fhir_of

    settings = _settings()
    found = find(fhir_of(settings), None)
    for resource in found:
        channel = resource.get("channel") or {}
        click.echo(
            f"Subscription/{resource['id']}: {resource.get('status')}, {resource.get('criteria')} "
            f"to {channel.get('endpoint')}"
        )
    if not found:
        click.echo(f"{settings.fhir_url} holds no Subscription of ours.")


@subscription.command()
@click.option("--all", "every", is_flag=True, help="Those of other installations of LeukoCDS as well.")
def remove(every: bool) -> None:
    """Delete this installation's Subscription. A worker with LEUKOCDS_EARLY_READING=subscribe makes it again."""
    from cds.store import SqlAssessmentStore
    from cds.store_engine import require_database
    from cds.subscription import remove as remove_from
    from hooks.commands.upstreams import fhir_of

    settings = _settings()
    installation = None
    if not every:
        require_database(settings.database_url)
        store = SqlAssessmentStore(settings.database_url)
        try:
            installation = store.watch(settings.fhir_url).installation
        finally:
            store.close()
    click.echo(f"{remove_from(fhir_of(settings), installation)} removed.")


def _settings() -> Settings:
    settings = Settings.from_env()
    if not settings.fhir_url:
        raise ConfigurationError(f"{PREFIX}FHIR_URL is not set")
    return settings
