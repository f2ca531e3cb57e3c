//! How figures of one column differ from boot to boot.

use super::found::Found;
use super::table::{Table, number, percent, signed};

/// The columns whose difference the goals are about.
const COLUMNS: [&str; 2] = ["nothing", "enforce"];

/// The middle one of what boots took, and from the lowest to the highest in percent of it.
fn middle(boots: &[f64]) -> Option<(f64, f64)> {
    let mut boots = boots.to_vec();
    boots.sort_unstable_by(f64::total_cmp);
    let middle = *boots.get(boots.len() / 2)?;
    Some((middle, (boots.last()? - boots.first()?) / middle * 100.0))
}

/// The rows that ran in several boots, in their order.
pub fn table<'a>(found: &[&Found], rows: impl Iterator<Item = &'a str> + Clone) -> Table {
    let head = [
        "row",
        "kernel",
        "boots",
        "nothing",
        "spread",
        "enforce",
        "spread",
        "added, middle to middle",
    ];
    let mut lines = Vec::new();
    for found in found {
        for row in rows.clone() {
            let boots = COLUMNS.map(|column| found.boots(column, row));
            let [Some(without), Some(with)] = boots.map(middle) else {
                continue;
            };
            let more = with.0 - without.0;
            lines.push(vec![
                format!("`{row}`"),
                found.series.to_owned(),
                boots.map(|boots| boots.len().to_string()).join(" and "),
                number(without.0),
                format!("{:.2} %", without.1),
                number(with.0),
                format!("{:.2} %", with.1),
                format!("{} ({})", signed(more), percent(more / without.0 * 100.0)),
            ]);
        }
    }
    Table {
        name: "boots".to_owned(),
        head: head.map(str::to_owned).into(),
        rows: lines,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_of_boots_is_found_with_their_spread() {
        assert_eq!(middle(&[]), None);
        let (middle, spread) = middle(&[100.0, 99.0, 102.0]).unwrap();
        assert!((middle - 100.0).abs() < 1e-9 && (spread - 3.0).abs() < 1e-9);
    }
}
