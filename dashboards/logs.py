"""What the containers log, from Loki."""

from __future__ import annotations

from grafana_foundation_sdk.builders.dashboard import Dashboard, QueryVariable, TextBoxVariable
from grafana_foundation_sdk.builders.logs import Panel as Logs
from grafana_foundation_sdk.builders.loki import Dataquery
from grafana_foundation_sdk.builders.timeseries import Panel as TimeSeries
from grafana_foundation_sdk.models.common import LogsSortOrder
from grafana_foundation_sdk.models.dashboard import DataSourceRef

LOKI = DataSourceRef(type_val="loki", uid="loki")
SELECTED = '{service=~"$service"} |~ "$text"'


def dashboard() -> Dashboard:
    """Return the dashboard."""
    return (
        Dashboard("Logs")
        .uid("logs")
        .tags(["cdc-workstation"])
        .refresh("10s")
        .time("now-15m", "now")
        .timezone("browser")
        .with_variable(
            QueryVariable("service").label("service").datasource(LOKI).query("label_values(service)").include_all(True)
        )
        .with_variable(TextBoxVariable("text").label("holds"))
        .with_panel(
            TimeSeries()
            .title("Lines a second")
            .datasource(LOKI)
            .height(6)
            .span(24)
            .with_target(
                Dataquery()
                .expr(f"sum by (service) (rate({SELECTED} [$__auto]))")
                .legend_format("{{service}}")
                .ref_id("A")
            )
        )
        .with_panel(
            Logs()
            .title("Lines")
            .datasource(LOKI)
            .height(18)
            .span(24)
            .show_time(True)
            .wrap_log_message(True)
            .enable_log_details(True)
            .sort_order(LogsSortOrder.DESCENDING)
            .with_target(Dataquery().expr(SELECTED).ref_id("A"))
        )
    )
