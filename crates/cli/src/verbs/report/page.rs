//! The report as one page that needs nothing else: no script, no picture, no font.

use maud::{DOCTYPE, PreEscaped, html};

use super::{Report, Row};
use crate::recorded::Outlook;

impl Report {
    /// The page. All that is not written here is escaped by `html!`.
    pub(super) fn page(&self) -> String {
        html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    title { "BPF on " (self.host) }
                    style { (PreEscaped(include_str!("page.css"))) }
                }
                body {
                    header {
                        h1 { "BPF on " (self.host) }
                        p.quiet { (self.basis()) ". Judged by " code { (self.policy) } ", with the files as they are now." }
                    }
                    main {
                        section.tiles aria-label="Summary" {
                            (tile("", self.rows.len(), "use BPF"))
                            (tile("refused", self.count("refused"), "would be refused"))
                            (tile("unknown", self.count("unknown"), "can't be told"))
                            (tile("works", self.count("works"), "would work"))
                        }
                        @if self.lost > 0 {
                            p.notice { (self.lost) " events were lost: there may be more than is shown here." }
                        }
                        @for row in &self.rows { (row.section()) }
                        @if self.rows.is_empty() { p { "Nobody used BPF." } }
                    }
                    footer.quiet { "Made by bpftrust " (env!("CARGO_PKG_VERSION")) "." }
                }
            }
        }
        .into_string()
    }
}

fn tile(class: &str, count: usize, label: &str) -> maud::Markup {
    html! {
        div.tile.(class) { span.count { (count) } span { (label) } }
    }
}

impl Row {
    fn section(&self) -> maud::Markup {
        let verdict = match self.outlook {
            Outlook::Works { .. } => "works",
            Outlook::Refused { .. } => "refused",
            Outlook::Unknown(_) => "can't be told",
        };
        html! {
            section.loader.(self.outlook.word()) {
                h2 { code { (self.found.loader.executable) } span.verdict { (verdict) } }
                p { (self.outlook) }
                dl {
                    dt { "for" } dd { (self.purpose()) }
                    @for (label, value) in self.facts() {
                        dt { (label) } dd { (value) }
                    }
                    @if let Some(help) = self.help() {
                        dt { "to do" }
                        dd { @if help.starts_with("bpftrust ") { code { (help) } } @else { (help) } }
                    }
                }
            }
        }
    }
}
