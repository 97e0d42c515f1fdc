//! The table: what was measured in several rounds, beside what, with its spread, and whether that is
//! what it should be. Markdown, a line as soon as it's known.

use std::fmt;

/// A measure, or a ratio, of several rounds.
pub struct Spread {
    sorted: Vec<f64>,
}

impl Spread {
    pub fn of(values: impl IntoIterator<Item = f64>) -> Spread {
        let mut sorted: Vec<f64> = values.into_iter().collect();
        assert!(!sorted.is_empty(), "nothing was measured");
        sorted.sort_by(f64::total_cmp);
        Spread { sorted }
    }

    pub fn median(&self) -> f64 {
        self.sorted[self.sorted.len() / 2]
    }

    pub fn least(&self) -> f64 {
        self.sorted[0]
    }

    pub fn most(&self) -> f64 {
        self.sorted[self.sorted.len() - 1]
    }
}

impl fmt::Display for Spread {
    /// The median, and what the rounds lie between if they differ.
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let (median, least, most) = (
            digits(self.median()),
            digits(self.least()),
            digits(self.most()),
        );
        if least == most {
            write!(f, "{median}")
        } else {
            write!(f, "{median} ({least}–{most})")
        }
    }
}

/// What a measure should be.
pub enum Goal {
    /// The median.
    AtMost(f64),
    /// The median.
    AtLeast(f64),
    /// Every one.
    NeverOver(f64),
    /// It's told for what it explains.
    None,
}

impl Goal {
    fn is_reached_by(&self, measured: &Spread) -> Option<bool> {
        match *self {
            Goal::AtMost(most) => Some(measured.median() <= most),
            Goal::AtLeast(least) => Some(measured.median() >= least),
            Goal::NeverOver(most) => Some(measured.most() <= most),
            Goal::None => None,
        }
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match *self {
            Goal::AtMost(most) => write!(f, "≤ {most}"),
            Goal::AtLeast(least) => write!(f, "≥ {least}"),
            Goal::NeverOver(most) => write!(f, "never > {most}"),
            Goal::None => Ok(()),
        }
    }
}

/// A line of the table.
pub struct Line {
    pub what: String,
    /// What we did, and what stands beside it, for a person.
    pub ours: String,
    pub beside: String,
    pub measured: Spread,
    /// Empty for a ratio.
    pub unit: &'static str,
    pub goal: Goal,
}

/// What was reached so far.
#[derive(Default)]
pub struct Table {
    goals: usize,
    missed: Vec<String>,
}

impl Table {
    pub fn begin() -> Table {
        println!(
            "| {:<62} | {:<36} | {:<26} | {:<28} | goal |   |",
            "row", "we", "beside", "measured"
        );
        println!(
            "|:{0:-<62}-|:{0:-<36}-|:{0:-<26}-|:{0:-<28}-|-----:|---|",
            ""
        );
        Table::default()
    }

    pub fn add(&mut self, line: &Line) {
        let Line {
            what,
            ours,
            beside,
            measured,
            unit,
            goal,
        } = line;
        let mark = match goal.is_reached_by(measured) {
            Some(true) => "✓",
            Some(false) => "✗",
            None => " ",
        };
        let unit = if unit.is_empty() {
            String::new()
        } else {
            format!(" {unit}")
        };
        let number = format!("{measured}{unit}");
        let goal = if mark == " " {
            String::new()
        } else {
            format!("{goal}{unit}")
        };
        println!("| {what:<62} | {ours:<36} | {beside:<26} | {number:<28} | {goal} | {mark} |");
        self.goals += usize::from(mark != " ");
        if mark == "✗" {
            self.missed
                .push(format!("{what}: {number}, and the goal is {goal}"));
        }
    }

    pub fn end(&self) {
        println!(
            "\n{} of {} goals are missed.",
            self.missed.len(),
            self.goals
        );
        self.missed.iter().for_each(|missed| println!("- {missed}"));
    }
}

/// A number with as many digits as anybody compares.
pub fn digits(number: f64) -> String {
    match number.abs() {
        1000.0.. => crate::table::thousands(number.round() as usize),
        100.0.. => format!("{number:.0}"),
        10.0.. => format!("{number:.1}"),
        _ => format!("{number:.2}"),
    }
}

/// A number with its thousands apart.
pub fn thousands(number: usize) -> String {
    match number {
        0..1_000 => number.to_string(),
        _ => format!("{},{:03}", thousands(number / 1_000), number % 1_000),
    }
}

pub fn seconds(time: std::time::Duration) -> String {
    match time.as_secs_f64() {
        short if short < 1.0 => format!("{} ms", digits(short * 1e3)),
        long => format!("{} s", digits(long)),
    }
}
