//! One plot for each table: what columns add, in percent.

use anyhow::{Result, anyhow};
use plotters::coord::Shift;
use plotters::prelude::*;
use std::path::Path;

/// What is drawn: a row each, with a bar for each series.
pub struct Plot<'a> {
    /// Above it.
    pub title: String,
    /// What the bars are percent of.
    pub than: &'a str,
    /// What the bars are.
    pub series: &'a [&'a str],
    /// Name, and percent for each series.
    pub rows: Vec<(String, Vec<f64>)>,
}

/// Bars end here, and say in words what they would show.
const MOST: f64 = 20.0;

const WIDTH: u32 = 900;
const ROW: u32 = 26;
const FRAME: u32 = 110;
const COLOURS: [RGBColor; 4] = [
    RGBColor(0x9e, 0xb8, 0xd9),
    RGBColor(0x2b, 0x5c, 0x94),
    RGBColor(0xe0, 0xa0, 0x50),
    RGBColor(0x6a, 0x8f, 0x4e),
];

impl Plot<'_> {
    /// Writes it as SVG.
    pub fn write(&self, path: &Path) -> Result<()> {
        let rows = u32::try_from(self.rows.len())?;
        let area = SVGBackend::new(path, (WIDTH, FRAME + rows * ROW)).into_drawing_area();
        self.draw(&area)
            .and_then(|()| area.present().map_err(|error| anyhow!("{error}")))
            .map_err(|error| error.context(format!("cannot draw {}", path.display())))
    }

    fn draw(&self, area: &DrawingArea<SVGBackend<'_>, Shift>) -> Result<()> {
        let failed = |error: DrawingAreaErrorKind<_>| anyhow!("{error}");
        area.fill(&WHITE).map_err(failed)?;
        let count = self.rows.len();
        let mut chart = ChartBuilder::on(area)
            .caption(&self.title, ("sans-serif", 18))
            .margin(12)
            .x_label_area_size(36)
            .y_label_area_size(170)
            .build_cartesian_2d(-2.0..MOST + 3.0, 0.0..count as f64)
            .map_err(failed)?;
        chart
            .configure_mesh()
            .disable_y_mesh()
            .disable_y_axis()
            .x_desc(format!("% more instructions than {}", self.than))
            .draw()
            .map_err(failed)?;
        let thick = 0.8 / self.series.len() as f64;
        for (at, name) in self.series.iter().enumerate() {
            let colour = COLOURS[at % COLOURS.len()];
            let top = |row: usize| (count - row) as f64 - 0.1 - at as f64 * thick;
            let bars = self
                .rows
                .iter()
                .enumerate()
                .filter_map(|(row, (_, values))| {
                    let value = values.get(at)?.clamp(-2.0, MOST);
                    let corners = [(0.0, top(row)), (value, top(row) - thick)];
                    Some(Rectangle::new(corners, colour.filled()))
                });
            chart
                .draw_series(bars)
                .map_err(failed)?
                .label(*name)
                .legend(move |(x, y)| {
                    Rectangle::new([(x, y - 5), (x + 12, y + 5)], colour.filled())
                });
            let words = self
                .rows
                .iter()
                .enumerate()
                .filter_map(|(row, (_, values))| {
                    let value = values.get(at)?;
                    let place = (value.clamp(0.0, MOST) + 0.15, top(row) - thick * 0.15);
                    Some(Text::new(format!("{value:+.2}"), place, ("sans-serif", 10)))
                });
            chart.draw_series(words).map_err(failed)?;
        }
        let names = self.rows.iter().enumerate().map(|(row, (name, _))| {
            let place = (-2.0, (count - row) as f64 - 0.25);
            EmptyElement::at(place) + Text::new(name.clone(), (-150, 0), ("sans-serif", 12))
        });
        chart.draw_series(names).map_err(failed)?;
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::LowerRight)
            .border_style(BLACK.mix(0.3))
            .background_style(WHITE)
            .draw()
            .map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plot_names_its_rows_and_says_what_its_bars_show() {
        let directory = std::env::temp_dir().join(format!("bpftrust-plot-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let path = directory.join("plot.svg");
        let plot = Plot {
            title: "Linux 6.18".into(),
            than: "with nothing",
            series: &["audit", "enforce"],
            rows: vec![
                ("exec".into(), vec![0.2, 0.25]),
                ("cold".into(), vec![0.0, 400.0]),
            ],
        };
        plot.write(&path).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_dir_all(&directory).unwrap();
        for part in [
            "<svg",
            "Linux 6.18",
            "exec",
            "cold",
            "+0.25",
            "+400.00",
            "enforce",
        ] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
    }
}
