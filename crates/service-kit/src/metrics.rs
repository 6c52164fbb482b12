//! Metrics, as Prometheus reads them. Counts of requests are kept here in plain atomics, by method, route pattern and
//! status, since they are counted on every request; everything else goes through the `metrics` facade.

use std::fmt::Write;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

/// Upper bounds of the durations that are told apart, in seconds and as they are written.
const BOUNDS: [(f64, &str); 15] = [
    (0.0005, "0.0005"),
    (0.001, "0.001"),
    (0.0025, "0.0025"),
    (0.005, "0.005"),
    (0.01, "0.01"),
    (0.025, "0.025"),
    (0.05, "0.05"),
    (0.1, "0.1"),
    (0.25, "0.25"),
    (0.5, "0.5"),
    (1.0, "1"),
    (2.5, "2.5"),
    (5.0, "5"),
    (10.0, "10"),
    (30.0, "30"),
];

/// What a metric of a service is, and what it says.
#[derive(Debug, Clone, Copy)]
pub enum Described {
    /// Goes up only.
    Counter(&'static str, &'static str),
    /// Goes up and down.
    Gauge(&'static str, &'static str),
    /// A duration in seconds, told apart by the same bounds as those of requests.
    Duration(&'static str, &'static str),
}

/// Says what a service's metrics mean (name, text), for the `HELP` lines.
pub fn describe(metrics: &[Described]) {
    recorder();
    for metric in metrics {
        match *metric {
            Described::Counter(name, text) => metrics::describe_counter!(name, text),
            Described::Gauge(name, text) => metrics::describe_gauge!(name, text),
            Described::Duration(name, text) => metrics::describe_histogram!(name, text),
        }
    }
}

/// Statuses from 100 to 599, by hundreds and the first 32 of each: the others of a hundred count as its last.
const SLOTS: usize = 5 * 32;

/// What is counted of one method at one route.
pub(crate) struct CallStats {
    method: &'static str,
    route: String,
    statuses: [AtomicU64; SLOTS],
    buckets: [AtomicU64; BOUNDS.len()],
    count: AtomicU64,
    sum_micros: AtomicU64,
}

impl CallStats {
    pub(crate) fn new(method: &'static str, route: &str) -> Self {
        let (count, sum_micros) = (AtomicU64::new(0), AtomicU64::new(0));
        let statuses = std::array::from_fn(|_| AtomicU64::new(0));
        let buckets = std::array::from_fn(|_| AtomicU64::new(0));
        Self { method, route: route.to_owned(), statuses, buckets, count, sum_micros }
    }

    pub(crate) fn record(&self, status: u16, duration: Duration) {
        let (hundred, rest) = (usize::from(status / 100).clamp(1, 5) - 1, usize::from(status % 100).min(31));
        self.statuses[hundred * 32 + rest].fetch_add(1, Ordering::Relaxed);
        let seconds = duration.as_secs_f64();
        if let Some(bucket) = BOUNDS.iter().position(|(bound, _)| seconds <= *bound) {
            self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        }
        self.count.fetch_add(1, Ordering::Relaxed);
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        self.sum_micros.fetch_add(micros, Ordering::Relaxed);
    }
}

/// Begins to take what the `metrics` facade is told; the same handle for every service in a process.
pub fn recorder() -> &'static PrometheusHandle {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    HANDLE.get_or_init(|| {
        let bounds = BOUNDS.map(|(bound, _)| bound);
        let builder = PrometheusBuilder::new().set_buckets(&bounds).expect("there are bounds");
        let recorder = builder.build_recorder();
        let handle = recorder.handle();
        // Somebody else's recorder in the process only means that ours stays empty.
        _ = metrics::set_global_recorder(recorder);
        handle
    })
}

/// Everything, in Prometheus's text format.
pub(crate) fn render<'a>(calls: impl Iterator<Item = &'a CallStats> + Clone) -> String {
    let mut text = recorder().render();
    text.push_str(
        "# HELP http_requests_total Requests that were answered.\n# TYPE http_requests_total counter\n",
    );
    for call in calls.clone() {
        for (slot, count) in call.statuses.iter().enumerate() {
            let count = count.load(Ordering::Relaxed);
            if count > 0 {
                let (method, route, status) = (call.method, &call.route, (slot / 32 + 1) * 100 + slot % 32);
                let labels = format!("method=\"{method}\",route=\"{route}\",status=\"{status}\"");
                writeln!(text, "http_requests_total{{{labels}}} {count}").expect("a text can be written to");
            }
        }
    }
    text.push_str("# HELP http_request_duration_seconds Time until the answer began.\n");
    text.push_str("# TYPE http_request_duration_seconds histogram\n");
    for call in calls {
        let count = call.count.load(Ordering::Relaxed);
        if count == 0 {
            continue;
        }
        let labels = format!("method=\"{}\",route=\"{}\"", call.method, call.route);
        let name = "http_request_duration_seconds";
        let mut below = 0;
        for ((_, bound), bucket) in BOUNDS.iter().zip(&call.buckets) {
            below += bucket.load(Ordering::Relaxed);
            writeln!(text, "{name}_bucket{{{labels},le=\"{bound}\"}} {below}")
                .expect("a text can be written to");
        }
        let micros = call.sum_micros.load(Ordering::Relaxed);
        let sum = Duration::from_micros(micros).as_secs_f64();
        writeln!(text, "{name}_bucket{{{labels},le=\"+Inf\"}} {count}").expect("a text can be written to");
        writeln!(text, "{name}_sum{{{labels}}} {sum}").expect("a text can be written to");
        writeln!(text, "{name}_count{{{labels}}} {count}").expect("a text can be written to");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_of_the_facade_are_histograms_and_explained() {
        describe(&[
            Described::Counter("shop_sales_total", "Sales."),
            Described::Gauge("shop_open", "Whether it is open."),
            Described::Duration("shop_sale_seconds", "How long a sale took."),
        ]);
        metrics::counter!("shop_sales_total").increment(1);
        metrics::gauge!("shop_open").set(1.0);
        metrics::histogram!("shop_sale_seconds").record(Duration::from_millis(300));
        let text = render(std::iter::empty());
        for line in [
            "# HELP shop_sales_total Sales.",
            "# HELP shop_open Whether it is open.",
            "# HELP shop_sale_seconds How long a sale took.",
            "# TYPE shop_sale_seconds histogram",
            "shop_sale_seconds_bucket{le=\"0.25\"} 0",
            "shop_sale_seconds_bucket{le=\"0.5\"} 1",
            "shop_sale_seconds_bucket{le=\"30\"} 1",
            "shop_sale_seconds_count 1",
        ] {
            assert!(text.lines().any(|other| other == line), "{line}\n{text}");
        }
    }

    #[test]
    fn requests_are_counted_by_status_and_duration() {
        let call = CallStats::new("GET", "/things/{id}");
        call.record(200, Duration::from_micros(400));
        call.record(200, Duration::from_micros(400));
        call.record(404, Duration::from_millis(30));
        call.record(599, Duration::from_secs(9));
        let text = render([&call].into_iter());
        for line in [
            "http_requests_total{method=\"GET\",route=\"/things/{id}\",status=\"200\"} 2",
            "http_requests_total{method=\"GET\",route=\"/things/{id}\",status=\"404\"} 1",
            "http_requests_total{method=\"GET\",route=\"/things/{id}\",status=\"531\"} 1",
            "http_request_duration_seconds_bucket{method=\"GET\",route=\"/things/{id}\",le=\"0.0005\"} 2",
            "http_request_duration_seconds_bucket{method=\"GET\",route=\"/things/{id}\",le=\"0.05\"} 3",
            "http_request_duration_seconds_bucket{method=\"GET\",route=\"/things/{id}\",le=\"5\"} 3",
            "http_request_duration_seconds_bucket{method=\"GET\",route=\"/things/{id}\",le=\"+Inf\"} 4",
            "http_request_duration_seconds_sum{method=\"GET\",route=\"/things/{id}\"} 9.0308",
            "http_request_duration_seconds_count{method=\"GET\",route=\"/things/{id}\"} 4",
        ] {
            assert!(text.lines().any(|other| other == line), "{line}\n{text}");
        }
    }
}
