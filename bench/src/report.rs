//! What a run measured: a line for each figure as it comes, and at the end how much each call
//! takes longer with many ports than with few.

use std::{cell::RefCell, fmt::Display};

use bench::Figures;

/// Everything measured so far.
#[derive(Debug, Default)]
pub(crate) struct Report {
    rows: RefCell<Vec<Row>>,
}

#[derive(Debug)]
struct Row {
    store: String,
    ports: usize,
    call: String,
    figures: Figures,
}

impl Report {
    pub(crate) fn say(
        &self,
        store: impl Display,
        ports: usize,
        call: impl Display,
        figures: Figures,
    ) {
        println!("{:<33}{figures}", format!("{call}:"));
        self.rows.borrow_mut().push(Row {
            store: store.to_string(),
            ports,
            call: call.to_string(),
            figures,
        });
    }

    /// A line for each call that was measured with several numbers of ports: the most against the
    /// fewest.
    pub(crate) fn growth(&self) -> Vec<String> {
        let rows = self.rows.borrow();
        let fewest = rows.iter().map(|row| row.ports).min();
        let few = rows.iter().filter(|row| Some(row.ports) == fewest);
        let lines = few.filter_map(|few| {
            let same = |row: &&Row| row.store == few.store && row.call == few.call;
            let many = rows.iter().filter(same).max_by_key(|row| row.ports)?;
            if many.ports == few.ports {
                return None;
            }
            let time = few.figures.rate() / many.figures.rate();
            let cpu = |row: &Row| row.figures.cpu.map(|cpu| cpu.as_secs_f64());
            let cpu = match (cpu(few), cpu(many)) {
                (Some(few), Some(many)) if few > 0.0 => format!("{:.2}", many / few),
                _ => "-".to_owned(),
            };
            let call = format!("{}:", few.call);
            Some(format!(
                "{:<9} {call:<33} time × {time:.2}  cpu × {cpu}",
                few.store
            ))
        });
        lines.collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_call_grows_by_what_it_takes_longer() {
        let report = Report::default();
        let figures = |calls: usize, micros: u64| Figures {
            calls,
            took: Duration::from_secs(1),
            median: Duration::ZERO,
            p99: Duration::ZERO,
            cpu: Some(Duration::from_micros(micros)),
        };
        report.say("sqlite", 1_000, "show port", figures(200, 10));
        report.say("sqlite", 1_000, "only here", figures(1, 1));
        report.say("postgres", 100_000, "show port", figures(1, 1));
        report.say("sqlite", 100_000, "show port", figures(100, 15));
        let lines = report.growth();
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].contains("time × 2.00  cpu × 1.50"), "{lines:?}");
    }
}
