//! What was measured, as a table and as JSON.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "the table is what the program is for")]

use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value, json};

/// What a figure has to be.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Target {
    /// At least this.
    AtLeast(f64),
    /// At most this.
    AtMost(f64),
}

impl Target {
    fn is_met(self, figure: f64) -> bool {
        match self {
            Self::AtLeast(least) => figure >= least,
            Self::AtMost(most) => figure <= most,
        }
    }
}

/// One line.
#[derive(Debug)]
struct Row {
    what: String,
    measured: f64,
    beside: Option<f64>,
    unit: &'static str,
    target: Target,
}

impl Row {
    /// What is held to the target: the ratio where there is something beside it.
    fn figure(&self) -> f64 {
        self.beside.map_or(self.measured, |beside| self.measured / beside)
    }
}

/// All lines.
#[derive(Debug, Default)]
pub(crate) struct Report {
    rows: Vec<Row>,
    failures: Vec<String>,
}

impl Report {
    /// A figure beside its comparison; their ratio counts.
    pub(crate) fn ratio(
        &mut self,
        what: &str,
        measured: f64,
        beside: f64,
        unit: &'static str,
        target: Target,
    ) {
        self.add(Row { what: what.to_owned(), measured, beside: Some(beside), unit, target });
    }

    /// A figure that counts by itself.
    pub(crate) fn absolute(&mut self, what: &str, measured: f64, unit: &'static str, target: Target) {
        self.add(Row { what: what.to_owned(), measured, beside: None, unit, target });
    }

    fn add(&mut self, row: Row) {
        // As they come: a run takes minutes.
        println!("{}", line(&row));
        self.rows.push(row);
    }

    /// A part that could not be measured.
    pub(crate) fn failed(&mut self, part: &str, error: &anyhow::Error) {
        eprintln!("{part}: {error:?}");
        self.failures.push(format!("{part}: {error:#}"));
    }

    /// Prints the table, writes `bench.json` into the target folder, and says whether every target is met.
    pub(crate) fn finish(self) -> ExitCode {
        println!("\n{:<58} {:>12} {:>12} {:>9} {:>9}", "", "measured", "beside", "figure", "target");
        for row in &self.rows {
            println!("{}", line(row));
        }
        for failure in &self.failures {
            println!("NOT MEASURED {failure}");
        }
        let rows: Vec<Value> = self.rows.iter().map(as_json).collect();
        let document = json!({"rows": rows, "failures": self.failures});
        let folder = system_tests::target_folder().unwrap_or_default();
        let path = folder.join("bench.json");
        match std::fs::write(&path, format!("{document:#}\n")) {
            Ok(()) => println!("\n{}", path.display()),
            Err(error) => eprintln!("{}: {error}", path.display()),
        }
        let met = self.failures.is_empty() && self.rows.iter().all(|row| row.target.is_met(row.figure()));
        if met { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

fn line(row: &Row) -> String {
    let beside = row.beside.map_or_else(|| "-".to_owned(), |beside| format!("{beside:.1}"));
    let (sign, bound) = match row.target {
        Target::AtLeast(bound) => (">=", bound),
        Target::AtMost(bound) => ("<=", bound),
    };
    let mark = if row.target.is_met(row.figure()) { "" } else { "  MISSED" };
    format!(
        "{:<58} {:>12.1} {:>12} {:>9.3} {:>9} {}{mark}",
        row.what,
        row.measured,
        beside,
        row.figure(),
        format!("{sign}{bound}"),
        row.unit
    )
}

fn as_json(row: &Row) -> Value {
    let (kind, bound) = match row.target {
        Target::AtLeast(bound) => ("at_least", bound),
        Target::AtMost(bound) => ("at_most", bound),
    };
    json!({
        "what": row.what, "measured": row.measured, "beside": row.beside, "unit": row.unit, "figure": row.figure(),
        "target": {kind: bound}, "met": row.target.is_met(row.figure()),
    })
}

/// A time as the tables have it.
pub(crate) fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// The middle one.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        length if length % 2 == 1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}
