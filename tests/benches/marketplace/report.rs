//! What was measured, a column a database, as a table and as JSON.

use std::path::PathBuf;

use marketplace::storage::Storage;
use serde_json::{Value, json};

/// A database that is measured, and its figures so far.
pub(crate) struct Column {
    pub(crate) name: &'static str,
    pub(crate) storage: Storage,
    /// The state folder of the marketplace on it.
    pub(crate) state: PathBuf,
    /// Where the server is; none for SQLite.
    pub(crate) url: Option<String>,
    pub(crate) figures: Vec<Figure>,
}

/// A figure, and what it is to be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Figure {
    pub(crate) what: &'static str,
    pub(crate) value: f64,
    unit: &'static str,
    least: Option<f64>,
    most: Option<f64>,
}

impl Column {
    pub(crate) fn new(name: &'static str, storage: Storage, state: PathBuf, url: Option<String>) -> Self {
        Self { name, storage, state, url, figures: Vec::new() }
    }

    /// One that is only told.
    pub(crate) fn plain(&mut self, what: &'static str, value: f64, unit: &'static str) {
        self.push(Figure { what, value, unit, least: None, most: None });
    }

    pub(crate) fn at_least(&mut self, what: &'static str, value: f64, unit: &'static str, least: f64) {
        self.push(Figure { what, value, unit, least: Some(least), most: None });
    }

    pub(crate) fn at_most(&mut self, what: &'static str, value: f64, unit: &'static str, most: f64) {
        self.push(Figure { what, value, unit, least: None, most: Some(most) });
    }

    /// Said at once, too: who waits sees how far it is.
    fn push(&mut self, figure: Figure) {
        eprintln!("{:<11}{:<68}{:>12.2} {}", self.name, figure.what, figure.value, figure.unit);
        self.figures.push(figure);
    }

    fn of(&self, what: &str) -> Option<&Figure> {
        self.figures.iter().find(|figure| figure.what == what)
    }
}

impl Figure {
    fn is_reached(&self) -> bool {
        self.least.is_none_or(|least| self.value >= least) && self.most.is_none_or(|most| self.value <= most)
    }

    fn target(&self) -> String {
        match (self.least, self.most) {
            (Some(least), _) => format!("at least {least}"),
            (_, Some(most)) => format!("at most {most}"),
            (None, None) => String::new(),
        }
    }

    fn json(&self) -> Value {
        json!({"what": self.what, "value": self.value, "unit": self.unit, "at_least": self.least, "at_most": self.most,
               "reached": self.is_reached()})
    }
}

/// Prints the table and writes the JSON; whether every figure is reached.
pub(crate) fn print(releases: usize, columns: &[Column]) -> anyhow::Result<bool> {
    // In the order in which they came; what only one database has comes where that one has it.
    let mut rows: Vec<&Figure> = Vec::new();
    for column in columns {
        let mut at = 0;
        for figure in &column.figures {
            match rows.iter().position(|row| row.what == figure.what) {
                Some(found) => at = found + 1,
                None => {
                    rows.insert(at, figure);
                    at += 1;
                }
            }
        }
    }
    print!("{:<68}", "");
    for column in columns {
        print!("{:>16}", column.name);
    }
    println!("  target");
    for row in rows {
        print!("{:<68}", row.what);
        for column in columns {
            let cell = column.of(row.what).map(|figure| {
                let mark = if figure.is_reached() { "" } else { " !" };
                format!("{:.2} {}{mark}", figure.value, figure.unit)
            });
            print!("{:>16}", cell.unwrap_or_default());
        }
        let target = columns.iter().filter_map(|column| column.of(row.what)).map(Figure::target);
        println!("  {}", target.max().unwrap_or_default());
    }
    let of = |column: &Column| json!({"database": column.name, "figures": column.figures.iter().map(Figure::json).collect::<Vec<_>>()});
    let whole = json!({"releases": releases, "databases": columns.iter().map(of).collect::<Vec<_>>()});
    let path = system_tests::target_folder()?.join("bench-marketplace.json");
    std::fs::write(&path, serde_json::to_vec_pretty(&whole)?)?;
    println!("\n{}", path.display());
    Ok(columns.iter().flat_map(|column| &column.figures).all(Figure::is_reached))
}
