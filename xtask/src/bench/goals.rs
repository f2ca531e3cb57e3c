//! What the figures are held to.

use super::found::{Counted, Found};
use super::table::{Table, percent, signed};

/// What a row may cost more under `enforce` than under `nothing`.
struct Goal {
    row: &'static str,
    /// In percent; none: no instruction.
    most: Option<f64>,
}

const GOALS: &[Goal] = &[
    goal("exec", Some(0.3)),
    goal("exec-signed-warm", Some(1.0)),
    goal("fork-exit", Some(0.3)),
    goal("bpf-map-create", Some(1.0)),
    goal("read", None),
    goal("write", None),
    goal("stat", None),
    goal("pipe", None),
    goal("eventfd", None),
    goal("socket", None),
    goal("open", None),
];

const fn goal(row: &'static str, most: Option<f64>) -> Goal {
    Goal { row, most }
}

/// The rows that have one.
pub fn rows() -> impl Iterator<Item = &'static str> + Clone {
    GOALS.iter().map(|goal| goal.row)
}

/// What lowest loops of the same code may differ by, in percent.
const SAME: f64 = 0.2;

impl Goal {
    /// What is added, in instructions and percent. Where the goal is nothing, of the
    /// lowest loops: an interrupt more or less is much of a short call, and what it adds
    /// is not the call's.
    fn added(&self, without: Counted, with: Counted) -> (f64, f64) {
        let (without, with) = match self.most {
            Some(_) => (without, with),
            None => (without.lowest(), with.lowest()),
        };
        (with.median - without.median, with.percent_over(without))
    }

    /// Whether so many percent are within the goal.
    fn holds(&self, percent: f64) -> bool {
        match self.most {
            Some(most) => percent <= most,
            None => percent.abs() <= SAME,
        }
    }
}

/// The goals, and what was found on each kernel.
pub fn table(found: &[&Found]) -> Table {
    let mut head = vec!["row".to_owned(), "goal".to_owned()];
    head.extend(found.iter().map(|found| found.series.to_owned()));
    let rows = GOALS.iter().map(|goal| {
        let most = goal
            .most
            .map_or("0".to_owned(), |most| format!("+{most:.1} %"));
        let mut cells = vec![format!("`{}`", goal.row), most];
        cells.extend(found.iter().map(|found| cell(goal, found)));
        cells
    });
    Table {
        name: "goals".to_owned(),
        rows: rows.collect(),
        head,
    }
}

fn cell(goal: &Goal, found: &Found) -> String {
    let columns = ("nothing", "enforce");
    let (Some(without), Some(with)) = (
        found.counted(columns.0, goal.row),
        found.counted(columns.1, goal.row),
    ) else {
        return "not run".to_owned();
    };
    let (more, added) = goal.added(without, with);
    let word = match goal.holds(added) {
        true => "met",
        false => "**missed**",
    };
    format!("{word}: {} ({})", signed(more), percent(added))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(lowest: f64, median: f64) -> Counted {
        Counted {
            median,
            range: (lowest, 2.0 * median),
        }
    }

    #[test]
    fn a_goal_of_nothing_looks_at_the_lowest_loops() {
        let nothing = goal("read", None);
        let added = nothing.added(counted(1000.0, 1010.0), counted(1001.0, 1100.0));
        assert_eq!(added, (1.0, 0.1));
        assert!(nothing.holds(0.1) && nothing.holds(-0.1));
        assert!(!nothing.holds(0.3) && !nothing.holds(-0.3));
    }

    #[test]
    fn a_goal_in_percent_looks_at_medians_and_allows_no_more() {
        let some = goal("exec", Some(0.3));
        assert_eq!(
            some.added(counted(1.0, 1000.0), counted(2.0, 1003.0)).0,
            3.0
        );
        assert!(some.holds(0.3) && some.holds(-1.0));
        assert!(!some.holds(0.31));
    }
}
