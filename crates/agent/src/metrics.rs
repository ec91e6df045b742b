//! What the agent did, in numbers that Prometheus reads.
use std::sync::LazyLock;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::run::Pass;

/// One process is one agent.
pub static METRICS: LazyLock<Metrics> = LazyLock::new(Metrics::new);

pub struct Metrics {
    registry: Registry,
    passes: Counter,
    problems: Counter,
    changes: Counter,
    told: Counter,
    seconds: Histogram,
    drift: Gauge,
    waiting: Gauge,
}

impl Metrics {
    fn new() -> Metrics {
        let mut registry = Registry::with_prefix("nucleon_agent");
        // From a tenth of a millisecond on: a quiet pass is that short.
        let buckets = [0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0];
        let metrics = Metrics {
            passes: Counter::default(),
            problems: Counter::default(),
            changes: Counter::default(),
            told: Counter::default(),
            seconds: Histogram::new(buckets),
            drift: Gauge::default(),
            waiting: Gauge::default(),
            registry: Registry::default(),
        };
        registry.register("passes", "Passes of the loop", metrics.passes.clone());
        registry.register(
            "problems",
            "Things that did not work",
            metrics.problems.clone(),
        );
        registry.register(
            "changes",
            "Changes written to the host",
            metrics.changes.clone(),
        );
        registry.register(
            "told",
            "Items of intent that the server gave or took away",
            metrics.told.clone(),
        );
        registry.register(
            "pass_seconds",
            "How long passes take",
            metrics.seconds.clone(),
        );
        registry.register(
            "drift",
            "Things not as wanted after the last pass",
            metrics.drift.clone(),
        );
        registry.register(
            "waiting",
            "Things that wait for others",
            metrics.waiting.clone(),
        );
        Metrics {
            registry,
            ..metrics
        }
    }

    pub fn pass(&self, pass: &Pass) {
        self.passes.inc();
        self.problems.inc_by(pass.problems.len() as u64);
        let applied = pass.applied;
        let changes = applied.database + applied.flows + applied.filters + applied.services;
        self.changes.inc_by(changes as u64);
        self.seconds.observe(pass.took.as_secs_f64());
        self.drift.set(pass.left.len() as i64);
        self.waiting.set(pass.waiting.len() as i64);
    }

    pub fn told(&self, items: usize) {
        self.told.inc_by(items as u64);
    }

    /// As Prometheus reads it.
    pub fn text(&self) -> String {
        let mut text = String::new();
        // A string takes everything.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

/// Serve the numbers over HTTP, to whoever asks whatever.
pub async fn serve(address: std::net::SocketAddr) -> std::io::Result<()> {
    use hyper::{Response, server::conn::http1, service::service_fn};
    let listener = tokio::net::TcpListener::bind(address).await?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let answer = service_fn(|_request: hyper::Request<hyper::body::Incoming>| async {
                let body = http_body_util::Full::new(hyper::body::Bytes::from(METRICS.text()));
                Ok::<_, std::convert::Infallible>(Response::new(body))
            });
            let stream = hyper_util::rt::TokioIo::new(stream);
            // Who went away before the answer does not need it.
            let _ = http1::Builder::new().serve_connection(stream, answer).await;
        }
    });
    Ok(())
}
