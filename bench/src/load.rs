//! Many clients that ask one after the other for a while, and what came of it.

use std::{
    fmt, io,
    time::{Duration, Instant},
};

use futures::future::try_join_all;

use crate::{Client, Server};

/// Rate, latencies and the server's work.
#[derive(Debug, Clone)]
pub struct Figures {
    pub calls: usize,
    pub took: Duration,
    pub median: Duration,
    pub p99: Duration,
    /// The server's processor time a call; nothing is known of another's process.
    pub cpu: Option<Duration>,
}

impl Figures {
    pub fn rate(&self) -> f64 {
        self.calls as f64 / self.took.as_secs_f64()
    }

    /// Out of each call's time.
    pub fn of(mut times: Vec<Duration>, took: Duration, cpu: Option<Duration>) -> Self {
        times.sort_unstable();
        let at = |share: f64| {
            let place = (times.len() as f64 * share) as usize;
            times
                .get(place.min(times.len().saturating_sub(1)))
                .copied()
                .unwrap_or_default()
        };
        let calls = times.len();
        Self {
            calls,
            took,
            median: at(0.5),
            p99: at(0.99),
            cpu: cpu.map(|cpu| cpu / u32::try_from(calls.max(1)).unwrap_or(u32::MAX)),
        }
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        write!(
            f,
            "{:>9.0}/s  p50 {:>8.2} ms  p99 {:>8.2} ms",
            self.rate(),
            ms(self.median),
            ms(self.p99)
        )?;
        match self.cpu {
            Some(cpu) => write!(f, "  cpu {:>7.3} ms/call", ms(cpu)),
            None => Ok(()),
        }
    }
}

/// Has so many clients ask for so long. `call` makes the n-th call of a client, and says an error
/// when the answer is not what it should be.
pub async fn measure<F>(
    server: &Server,
    clients: usize,
    time: Duration,
    call: F,
) -> io::Result<Figures>
where
    F: AsyncFn(&mut Client, usize, usize) -> io::Result<()>,
{
    let (begun, cpu) = (Instant::now(), server.cpu()?);
    let call = &call;
    let each = (0..clients).map(|number| async move {
        let mut client = server.client();
        let mut times = Vec::new();
        while begun.elapsed() < time {
            let asked = Instant::now();
            call(&mut client, number, times.len()).await?;
            times.push(asked.elapsed());
        }
        Ok::<_, io::Error>(times)
    });
    let times = try_join_all(each).await?.concat();
    let took = begun.elapsed();
    Ok(Figures::of(
        times,
        took,
        Some(server.cpu()?.saturating_sub(cpu)),
    ))
}
