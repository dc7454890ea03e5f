"""The pipeline at a glance: lag, throughput, state of the connectors, memory of Spark and of the JVMs, alerts."""

from __future__ import annotations

from grafana_foundation_sdk.builders.common import VizLegendOptions
from grafana_foundation_sdk.builders.dashboard import (
    CustomVariable,
    Dashboard,
    DashboardLink,
    Row,
    ThresholdsConfig,
)
from grafana_foundation_sdk.builders.prometheus import Dataquery
from grafana_foundation_sdk.builders.stat import Panel as Stat
from grafana_foundation_sdk.builders.statetimeline import Panel as StateTimeline
from grafana_foundation_sdk.builders.table import Panel as Table
from grafana_foundation_sdk.builders.timeseries import Panel as TimeSeries
from grafana_foundation_sdk.models.common import LegendDisplayMode, LegendPlacement
from grafana_foundation_sdk.models.dashboard import (
    DashboardLinkType,
    DataSourceRef,
    Threshold,
    ThresholdsMode,
    ValueMap,
    ValueMappingResult,
    VariableOption,
)
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

PROMETHEUS = DataSourceRef(type_val="prometheus", uid="prometheus")
# What tests send carries environment="test"; what they make on the stack has a name with twelve digits
# (`tests/suite/residue.py`). As RE2 reads it, and without a comma, at which Grafana splits.
TESTS = "test|(.*[^a-z0-9])?((t|cdc|test|cdcdb_test)_|test-)[0-9a-f]{12}.*"
# The labels of rules and series that may hold such a name.
SHOWN = ", ".join(f'{label}!~"$hidden"' for label in ("environment", "job", "connector", "name", "slot_name", "table"))
# Kafka Connect's states of a task, with the number and the colour that stand for each.
STATES = [("running", 1, "green"), ("paused", 2, "yellow"), ("unassigned", 3, "orange"), ("failed", 4, "red")]


def query(expr: str, legend: str = "", *, instant: bool = False) -> Dataquery:
    """Return a query of Prometheus."""
    asked = Dataquery().expr(expr).legend_format(legend or "__auto")
    return asked.instant() if instant else asked.range()


def plot(title: str, unit: str, *queries: Dataquery, about: str = "", width: int = 8) -> TimeSeries:
    """Return a panel with lines over time."""
    panel = (
        TimeSeries()
        .title(title)
        .description(about)
        .datasource(PROMETHEUS)
        .unit(unit)
        .min(0)
        .height(8)
        .span(width)
        .fill_opacity(8)
        .legend(
            VizLegendOptions().show_legend(True).display_mode(LegendDisplayMode.LIST).placement(LegendPlacement.BOTTOM)
        )
    )
    for number, asked in enumerate(queries):
        panel = panel.with_target(asked.ref_id(chr(ord("A") + number)))
    return panel


def number(title: str, unit: str, expr: str, *limits: tuple[float, str], about: str = "") -> Stat:
    """Return a panel with one number that is green up to the first of `limits`, then of its colour, and so on."""
    steps = [Threshold(value=None, color="green"), *(Threshold(value=value, color=color) for value, color in limits)]
    return (
        Stat()
        .title(title)
        .description(about)
        .datasource(PROMETHEUS)
        .unit(unit)
        .height(4)
        .span(4)
        .thresholds(ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps))
        .with_target(query(expr, instant=True).ref_id("A"))
    )


def dashboard() -> Dashboard:
    """Return the dashboard."""
    board = (
        Dashboard("CDC pipeline")
        .uid("cdc-pipeline")
        .tags(["cdc-workstation"])
        .refresh("5s")
        .time("now-15m", "now")
        .timezone("browser")
        .with_variable(
            CustomVariable("hidden")
            .label("tests")
            .description("Whether alerts, connectors, slots and tables of tests are shown")
            .values(f"hidden : {TESTS}, shown : nothing")
            .current(VariableOption(selected=True, text="hidden", value=TESTS))
        )
        .link(DashboardLink("Logs").type(DashboardLinkType.DASHBOARDS).tags(["cdc-workstation"]).as_dropdown(True))
    )
    for part in (now, lag, throughput, connectors, memory, alerts):
        board = part(board)
    return board


def now(board: Dashboard) -> Dashboard:
    """Add what one looks at first."""
    return (
        board.with_row(Row("Now"))
        .with_panel(
            number(
                "Tasks running",
                "short",
                'sum(kafka_connect_connector_task_status{job="debezium", status="running", connector!~"$hidden"})',
            )
        )
        .with_panel(
            number(
                "Tasks failed",
                "short",
                'sum(kafka_connect_connector_task_status{job="debezium", status="failed", connector!~"$hidden"}'
                ' or kafka_connect_connector_task_status{job="debezium"} * 0)',
                (1, "red"),
            )
        )
        .with_panel(
            number(
                "Source to Kafka",
                "s",
                'max(debezium_metrics_MilliSecondsBehindSource{job="debezium", context="streaming"}) / 1000',
                (30, "yellow"),
                (300, "red"),
                about="The longest lag of a connector, of the last change that it saw.",
            )
        )
        .with_panel(
            number(
                "Offsets behind",
                "short",
                'sum(cdc_sink_lag_offsets{job="cdc-application", table!~"$hidden"})',
                (10_000, "yellow"),
                about="Events in Kafka that the sink has not applied.",
            )
        )
        .with_panel(
            number(
                "Tables stopped",
                "short",
                'sum(cdc_sink_table_stopped{job="cdc-application", table!~"$hidden"})',
                (1, "red"),
                about="Tables that take no more changes; the sink's log says why.",
            )
        )
        .with_panel(
            number(
                "Alerts firing",
                "short",
                f'count(ALERTS{{alertstate="firing", {SHOWN}}}) or vector(0)',
                (1, "red"),
            )
        )
    )


def lag(board: Dashboard) -> Dashboard:
    """Add how late changes are."""
    return (
        board.with_row(Row("Lag"))
        .with_panel(
            plot(
                "Source to Kafka",
                "s",
                query(
                    'debezium_metrics_MilliSecondsBehindSource{job="debezium", context="streaming"} / 1000',
                    "{{plugin}}",
                ),
                about="From the commit in the database to the connector. The last change's, until another comes.",
            )
        )
        .with_panel(
            plot(
                "Source to Delta",
                "s",
                query('cdc_sink_lag_seconds{job="cdc-application", table!~"$hidden"}', "{{table}}"),
                about="From the commit in the database to the commit in the Delta table.",
            )
        )
        .with_panel(
            plot(
                "Offsets behind",
                "short",
                query('cdc_sink_lag_offsets{job="cdc-application", table!~"$hidden"}', "{{table}}"),
            )
        )
        .with_panel(
            plot(
                "Time of a Delta commit",
                "s",
                *(
                    query(
                        f"histogram_quantile({share}, sum by (le) "
                        '(rate(cdc_sink_commit_seconds_bucket{job="cdc-application"}[$__rate_interval])))',
                        name,
                    )
                    for share, name in ((0.5, "median"), (0.95, "95 %"))
                ),
                width=12,
            )
        )
        .with_panel(
            plot(
                "WAL that the slot holds back",
                "bytes",
                query(
                    'pg_replication_slot_slot_current_wal_lsn{job="postgres", slot_name!~"$hidden"}'
                    ' - pg_replication_slot_slot_confirmed_flush_lsn{job="postgres", slot_name!~"$hidden"}',
                    "{{slot_name}}",
                ),
                width=12,
            )
        )
    )


def throughput(board: Dashboard) -> Dashboard:
    """Add how much goes through."""
    return (
        board.with_row(Row("Throughput"))
        .with_panel(
            plot(
                "Events captured",
                "ops",
                query(
                    "sum by (plugin) (rate(debezium_metrics_TotalNumberOfEventsSeen"
                    '{job="debezium", context="streaming"}[$__rate_interval]))',
                    "{{plugin}}",
                ),
            )
        )
        .with_panel(
            plot(
                "Kafka",
                "Bps",
                query('rate(kafka_server_brokertopicmetrics_bytesin_total{job="kafka"}[$__rate_interval])', "in"),
                query('rate(kafka_server_brokertopicmetrics_bytesout_total{job="kafka"}[$__rate_interval])', "out"),
            )
        )
        .with_panel(
            plot(
                "Rows applied to Delta",
                "ops",
                query(
                    'sum by (op) (rate(cdc_sink_rows_applied_total{job="cdc-application"}[$__rate_interval]))', "{{op}}"
                ),
                about="c created, u updated, d deleted, r read by a snapshot.",
            )
        )
    )


def connectors(board: Dashboard) -> Dashboard:
    """Add the state of the connectors' tasks, and what went wrong."""
    status = 'kafka_connect_connector_task_status{{job="debezium", status=~"{}", connector!~"$hidden"}} * {}'
    others = {"unassigned": "unassigned|restarting|destroyed"}
    state = " or ".join(status.format(others.get(name, name), value) for name, value, _ in STATES)
    mapping = ValueMap(
        options={str(value): ValueMappingResult(text=name, color=color) for name, value, color in STATES}
    )
    timeline = (
        StateTimeline()
        .title("State of the tasks")
        .datasource(PROMETHEUS)
        .height(8)
        .span(12)
        .mappings([mapping])
        .with_target(query(f"max by (connector, task) ({state})", "{{connector}} {{task}}").ref_id("A"))
    )
    return (
        board.with_row(Row("Connectors"))
        .with_panel(timeline)
        .with_panel(
            plot(
                "Errors and dead letters",
                "short",
                query(
                    "sum by (connector) "
                    '(kafka_connect_task_error_total_record_errors{job="debezium", connector!~"$hidden"})',
                    "{{connector}}: errors",
                ),
                query(
                    'sum by (table) (cdc_sink_dead_lettered_rows_total{job="cdc-application", table!~"$hidden"})',
                    "{{table}}: dead letters",
                ),
                width=12,
            )
        )
    )


def memory(board: Dashboard) -> Dashboard:
    """Add what Spark and the JVMs hold."""
    return (
        board.with_row(Row("Memory"))
        .with_panel(
            plot(
                "Heap of Kafka and Kafka Connect",
                "bytes",
                query('jvm_memory_used_bytes{job=~"kafka|debezium", area="heap"}', "{{job}} used"),
                query('jvm_memory_max_bytes{job=~"kafka|debezium", area="heap"}', "{{job}} limit"),
            )
        )
        .with_panel(
            plot(
                "Spark",
                "bytes",
                query('metrics_executor_JVMHeapMemory_bytes{job="spark-connect"}', "heap of Connect"),
                query('metrics_worker_memUsed_MB_Value{job="spark-worker"} * 1048576', "given to executors"),
                query('metrics_worker_memFree_MB_Value{job="spark-worker"} * 1048576', "free for executors"),
            )
        )
        .with_panel(plot("Processes", "bytes", query("process_resident_memory_bytes", "{{job}}")))
        .with_panel(
            plot(
                "Time in garbage collection",
                "percentunit",
                query(
                    'sum by (job) (rate(jvm_gc_collection_seconds_sum{job=~"kafka|debezium"}[$__rate_interval]))',
                    "{{job}}",
                ),
                query(
                    'rate(metrics_executor_totalGCTime_seconds_total{job="spark-connect"}[$__rate_interval])',
                    "spark-connect",
                ),
                width=12,
            )
        )
        .with_panel(
            plot(
                "Spark's tasks",
                "short",
                query('metrics_executor_activeTasks{job="spark-connect"}', "running in Connect"),
                query('metrics_master_apps_Value{job="spark-master"}', "applications on the cluster"),
                query('metrics_master_waitingApps_Value{job="spark-master"}', "applications that wait"),
                width=12,
            )
        )
    )


def alerts(board: Dashboard) -> Dashboard:
    """Add what fires, and what Alertmanager made of it."""
    firing = (
        Table()
        .title("Firing")
        .description("Alerts of Prometheus's rules. Those of tests show when you ask for them, above.")
        .datasource(PROMETHEUS)
        .height(8)
        .span(16)
        .with_target(
            query(f'ALERTS{{alertstate="firing", {SHOWN}}}', instant=True).format(PromQueryFormat.TABLE).ref_id("A")
        )
    )
    return (
        board.with_row(Row("Alerts"))
        .with_panel(firing)
        .with_panel(
            plot(
                "Alertmanager",
                "short",
                query('sum by (state) (alertmanager_alerts{job="alertmanager"})', "{{state}}"),
                query(
                    'sum(increase(alertmanager_notifications_total{job="alertmanager"}[$__rate_interval]))',
                    "notifications",
                ),
                query(
                    'sum(increase(alertmanager_notifications_failed_total{job="alertmanager"}[$__rate_interval]))',
                    "failed notifications",
                ),
                about="All alerts, those of tests too.",
            )
        )
    )
