//! What the figures are held to.

use super::found::Found;
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

impl Goal {
    /// Whether so much is within the goal, where loops of the same kind differ by
    /// `spread` percent.
    fn holds(&self, added: f64, spread: f64) -> bool {
        match self.most {
            Some(most) => added <= most,
            None => added.abs() <= spread.max(0.05),
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
    let added = with.percent_over(without);
    let word = match goal.holds(added, without.spread().max(with.spread())) {
        true => "met",
        false => "**missed**",
    };
    let more = signed(with.median - without.median);
    format!("{word}: {more} ({})", percent(added))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_goal_of_nothing_allows_what_loops_differ_by() {
        let nothing = goal("read", None);
        assert!(nothing.holds(0.04, 0.0));
        assert!(nothing.holds(0.2, 0.3));
        assert!(!nothing.holds(0.2, 0.1));
        assert!(!nothing.holds(-0.2, 0.1));
    }

    #[test]
    fn a_goal_in_percent_allows_no_more() {
        let some = goal("exec", Some(0.3));
        assert!(some.holds(0.3, 0.0));
        assert!(!some.holds(0.31, 5.0));
        assert!(some.holds(-1.0, 0.0));
    }
}
