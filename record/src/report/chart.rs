//! Plots as inline SVG: no script, no font, no file. Colours and fonts come from the page's CSS
//! by class, so that one plot serves light and dark.
//!
//! Classes: `axis`, `grid`, `tick`, `name`, `line`, `thin`, `s1`, `s2`
//! (series), `mark`.

use std::fmt::Write as _;

use super::text;
use super::timeline::{Bin, Timeline};
use crate::histogram::Histogram;
use crate::spread::Spread;

const WIDTH: f64 = 560.0;
/// Usual height of a plot; its width is always 560.
pub const HEIGHT: f64 = 280.0;
/// Height of a plot that stands beside two usual ones.
pub const HEIGHT_TALL: f64 = 634.0;
const LEFT: f64 = 62.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 26.0;
const BOTTOM: f64 = 42.0;
/// Room for the name of a line.
const NAME_WIDTH: f64 = 70.0;
/// Durations below are drawn here: logarithms know no zero.
const NS_MIN: f64 = 1_000.0;

/// A distribution to be drawn.
#[derive(Clone, Copy, Debug)]
pub struct Series<'a> {
    /// What it is called beside its line.
    pub name: &'static str,
    /// `s1` or `s2`.
    pub class: &'static str,
    /// Its values.
    pub values: &'a Histogram,
}

/// A logarithmic scale over whole decades.
struct Decades {
    low: i32,
    high: i32,
    from: f64,
    to: f64,
}

impl Decades {
    /// Covers `min` to `max` (nanoseconds), one decade at least, drawn between two coordinates.
    fn of_ns(min: f64, max: f64, from: f64, to: f64) -> Decades {
        let low = min.max(NS_MIN).log10().floor() as i32;
        let high = (max.max(NS_MIN).log10().ceil() as i32).max(low + 1);
        Decades {
            low,
            high,
            from,
            to,
        }
    }

    fn place(&self, ns: f64) -> f64 {
        let lowest = 10_f64.powi(self.low);
        let share =
            (ns.max(lowest).log10() - f64::from(self.low)) / f64::from(self.high - self.low);
        self.from + share.clamp(0.0, 1.0) * (self.to - self.from)
    }

    /// Grid lines and labels of a vertical axis.
    fn draw(&self, svg: &mut String) {
        for decade in self.low..=self.high {
            let ns = 10_f64.powi(decade);
            let y = self.place(ns);
            let _ = write!(
                svg,
                r#"<path class="grid" d="M{LEFT} {y:.1}H{:.1}"/><text class="tick" x="{:.1}" y="{:.1}" text-anchor="end">{}</text>"#,
                WIDTH - RIGHT,
                LEFT - 8.0,
                y + 4.0,
                round_duration(decade),
            );
        }
    }
}

/// A power of ten nanoseconds: `1 µs`, `100 ms`.
fn round_duration(decade: i32) -> String {
    let (scale, unit) = match decade {
        ..3 => (0, "ns"),
        3..6 => (3, "µs"),
        6..9 => (6, "ms"),
        _ => (9, "s"),
    };
    format!(
        "{} {unit}",
        text::thousands(10_u64.saturating_pow((decade - scale).max(0) as u32))
    )
}

fn open(svg: &mut String, height: f64, title: &str, axis: &str) {
    let _ = write!(
        svg,
        r#"<svg class="chart" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{0}"><title>{0}</title><text class="axis" x="{LEFT}" y="13">{1}</text>"#,
        escape(title),
        escape(axis),
    );
}

fn bottom_label(svg: &mut String, height: f64, label: &str) {
    let _ = write!(
        svg,
        r#"<text class="axis" x="{:.1}" y="{:.1}" text-anchor="end">{}</text></svg>"#,
        WIDTH - RIGHT,
        height - 4.0,
        escape(label),
    );
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

/// Percentile curves: how long the slowest 1 in 10, 100, 1,000 … took. Both axes are logarithmic,
/// so that the tail, where trouble is, has room. `None` when nothing was measured.
pub fn percentiles(title: &str, height: f64, series: &[Series<'_>]) -> Option<String> {
    let drawn: Vec<&Series<'_>> = series.iter().filter(|s| s.values.count > 0).collect();
    let count = drawn.iter().map(|s| s.values.count).max()?;
    let min = drawn.iter().map(|s| s.values.min_ns).min()? as f64;
    let max = drawn.iter().map(|s| s.values.max_ns).max()? as f64;
    // As many nines as there are values to speak for them, at least 99 %.
    let nines = (count as f64).log10().ceil().clamp(2.0, 7.0);
    let y = Decades::of_ns(min, max, height - BOTTOM, TOP);
    let x = |quantile: f64| {
        let rarity = -(1.0 - quantile).max(10_f64.powf(-nines)).log10();
        LEFT + rarity / nines * (WIDTH - RIGHT - LEFT)
    };
    let mut svg = String::new();
    open(&mut svg, height, title, "time, log scale");
    y.draw(&mut svg);
    let mut ticks = vec![(0.0, "0 %".to_owned()), (0.5, "50 %".to_owned())];
    ticks.extend((1..=nines as i32).map(|nine| {
        let digits = usize::try_from((nine - 2).max(0)).unwrap_or(0);
        let quantile = 1.0 - 10_f64.powi(-nine);
        (quantile, format!("{:.digits$} %", quantile * 100.0))
    }));
    for (at, (quantile, label)) in ticks.iter().enumerate() {
        let anchor = if at + 1 == ticks.len() {
            "end"
        } else {
            "middle"
        };
        let _ = write!(
            svg,
            r#"<path class="grid" d="M{0:.1} {TOP}V{1:.1}"/><text class="tick" x="{0:.1}" y="{2:.1}" text-anchor="{anchor}">{label}</text>"#,
            x(*quantile),
            height - BOTTOM,
            height - BOTTOM + 16.0,
        );
    }
    let mut named_at: Option<f64> = None;
    for one in drawn {
        let _ = write!(
            svg,
            r#"<path class="line {}" d="{}"/>"#,
            one.class,
            curve(one.values, &x, &y)
        );
        // The name stands at the left, where the lines are flat, above what it spans.
        let spanned = 1.0 - 10_f64.powf(-nines * NAME_WIDTH / (WIDTH - RIGHT - LEFT));
        let place = |quantile| y.place(one.values.quantile_ns(quantile).unwrap_or(0) as f64);
        let above = place(spanned) - 7.0;
        let name_y = match named_at {
            // Two lines lie close: the lower one has its name below.
            Some(other) if (above - other).abs() < 18.0 => {
                (place(0.0).max(other) + 18.0).min(height - BOTTOM - 5.0)
            }
            _ => above,
        };
        named_at = Some(name_y);
        let _ = write!(
            svg,
            r#"<text class="name {}" x="{:.1}" y="{:.1}">{}</text>"#,
            one.class,
            LEFT + 8.0,
            name_y,
            escape(one.name),
        );
    }
    bottom_label(&mut svg, height, "share of requests that took no longer");
    Some(svg)
}

/// The steps of a distribution, one point a unit of width at most.
fn curve(values: &Histogram, x: &impl Fn(f64) -> f64, y: &Decades) -> String {
    let total: u64 = values
        .counts
        .iter()
        .fold(0, |sum, (_, n)| sum.saturating_add(*n));
    let mut path = String::new();
    let (mut seen, mut last_x) = (0_u64, f64::MIN);
    for (at, (ns, n)) in values.counts.iter().enumerate() {
        let from = seen as f64 / total.max(1) as f64;
        seen = seen.saturating_add(*n);
        let (x_from, x_to) = (x(from), x(seen as f64 / total.max(1) as f64));
        let is_last = at + 1 == values.counts.len();
        if x_to - last_x < 1.0 && !is_last {
            continue;
        }
        let verb = if path.is_empty() { 'M' } else { 'L' };
        let height = y.place(*ns as f64);
        let _ = write!(
            path,
            "{verb}{:.1} {height:.1}H{x_to:.1}",
            x_from.max(last_x)
        );
        last_x = x_to;
    }
    path
}

/// The share of trials in which it had come, over the moments at which it came, and the straight
/// line of the law. `None` where there was no trial, or the law has no span.
pub fn spread(spread: &Spread) -> Option<String> {
    let law = [spread.from_ns, spread.until_ns].map(|ns| ns as f64 / 1e6);
    let [from, until] = law;
    let mut came: Vec<f64> = spread.came_ns.iter().map(|ns| *ns as f64 / 1e6).collect();
    came.sort_by(f64::total_cmp);
    let (first, last) = (*came.first()?, *came.last()?);
    if until <= from {
        return None;
    }
    // Room on both sides, so that what is outside of the law is seen.
    let margin = (until - from) * 0.1;
    let (low, high) = (from.min(first) - margin, until.max(last) + margin);
    let x = |ms: f64| LEFT + (ms - low) / (high - low) * (WIDTH - RIGHT - LEFT);
    let y = |share: f64| HEIGHT - BOTTOM - share * (HEIGHT - BOTTOM - TOP);
    let mut svg = String::new();
    let title = format!("{}: share of trials over time", spread.name);
    open(
        &mut svg,
        HEIGHT,
        &title,
        "share of trials in which it had come",
    );
    for share in [0.0, 0.25, 0.5, 0.75, 1.0] {
        let _ = write!(
            svg,
            r#"<path class="grid" d="M{LEFT} {0:.1}H{1:.1}"/><text class="tick" x="{2:.1}" y="{3:.1}" text-anchor="end">{4:.0} %</text>"#,
            y(share),
            WIDTH - RIGHT,
            LEFT - 8.0,
            y(share) + 4.0,
            share * 100.0,
        );
    }
    for end in law {
        let _ = write!(
            svg,
            r#"<path class="grid" d="M{0:.1} {TOP}V{1:.1}"/><text class="tick" x="{0:.1}" y="{2:.1}" text-anchor="middle">{end:.0}</text>"#,
            x(end),
            HEIGHT - BOTTOM,
            HEIGHT - BOTTOM + 16.0,
        );
    }
    let _ = write!(
        svg,
        r#"<path class="line s2" d="M{:.1} {:.1}L{:.1} {:.1}"/>"#,
        x(from),
        y(0.0),
        x(until),
        y(1.0)
    );
    let mut steps = format!("M{:.1} {:.1}", x(low), y(0.0));
    let mut drawn_x = f64::MIN;
    for (at, ms) in came.iter().enumerate() {
        // One step a unit of width at most.
        if x(*ms) - drawn_x < 0.5 && at + 1 < came.len() {
            continue;
        }
        drawn_x = x(*ms);
        let share = (at + 1) as f64 / came.len() as f64;
        let _ = write!(steps, "H{drawn_x:.1}V{:.1}", y(share));
    }
    let _ = write!(
        svg,
        r#"<path class="line s1" d="{steps}H{:.1}"/><text class="name s1" x="{:.1}" y="{:.1}">{} trials</text><text class="name s2" x="{:.1}" y="{:.1}" text-anchor="end">law</text>"#,
        x(high),
        LEFT + 8.0,
        y(1.0) + 14.0,
        came.len(),
        WIDTH - RIGHT - 8.0,
        y(0.0) - 8.0,
    );
    bottom_label(&mut svg, HEIGHT, "milliseconds since the silence began");
    Some(svg)
}

/// A step for each span of time, as high as the worst in it. `None` when nothing was measured.
///
/// A line and no bars: on a logarithmic scale the length of a bar says nothing.
pub fn worst_over_time(
    title: &str,
    timeline: &Timeline,
    pick: impl Fn(&Bin) -> Option<u64>,
) -> Option<String> {
    let worst = timeline.bins.iter().filter_map(&pick).max()?;
    let least = timeline.bins.iter().filter_map(&pick).min()?;
    let y = Decades::of_ns(least as f64 / 2.0, worst as f64, HEIGHT - BOTTOM, TOP);
    let span_ns = timeline.span_ns() as f64;
    let x = |ns: f64| LEFT + ns / span_ns * (WIDTH - RIGHT - LEFT);
    let mut svg = String::new();
    let axis = format!(
        "worst in each {}, log scale",
        text::round_duration(timeline.width_ns)
    );
    open(&mut svg, HEIGHT, title, &axis);
    y.draw(&mut svg);
    let step_ns = tick_step(span_ns);
    let (unit_ns, unit) = match step_ns {
        ..1e6 => (1e3, "microseconds"),
        ..1e9 => (1e6, "milliseconds"),
        ..60e9 => (1e9, "seconds"),
        ..3_600e9 => (60e9, "minutes"),
        _ => (3_600e9, "hours"),
    };
    let mut at = 0.0;
    while at <= span_ns {
        let place = x(at);
        let anchor = if place > WIDTH - RIGHT - 12.0 {
            "end"
        } else {
            "middle"
        };
        let _ = write!(
            svg,
            r#"<path class="grid" d="M{place:.1} {0:.1}v4"/><text class="tick" x="{place:.1}" y="{1:.1}" text-anchor="{anchor}">{2}</text>"#,
            HEIGHT - BOTTOM,
            HEIGHT - BOTTOM + 16.0,
            at / unit_ns,
        );
        at += step_ns;
    }
    let (mut steps, mut marks) = (String::new(), String::new());
    let mut pen_is_down = false;
    for (index, bin) in timeline.bins.iter().enumerate() {
        let left = x(index as f64 * timeline.width_ns as f64);
        let right = x((index + 1) as f64 * timeline.width_ns as f64);
        match pick(bin) {
            Some(ns) => {
                let height = y.place(ns as f64);
                let _ = match pen_is_down {
                    true => write!(steps, "V{height:.1}H{right:.1}"),
                    false => write!(steps, "M{left:.1} {height:.1}H{right:.1}"),
                };
                pen_is_down = true;
            }
            // Nothing was sent in this span: the line has a hole, not a zero.
            None => pen_is_down = false,
        }
        if bin.wrong > 0 {
            let _ = write!(
                marks,
                "M{:.1} {:.1}v6",
                (left + right) / 2.0,
                HEIGHT - BOTTOM - 6.0
            );
        }
    }
    let _ = write!(svg, r#"<path class="line s1 thin" d="{steps}"/>"#);
    if !marks.is_empty() {
        let _ = write!(
            svg,
            r#"<path class="mark" d="{marks}M{0:.1} 5v8"/><text class="tick" x="{1:.1}" y="13">answers missing or different</text>"#,
            WIDTH - RIGHT - 190.0,
            WIDTH - RIGHT - 184.0
        );
    }
    bottom_label(&mut svg, HEIGHT, &format!("{unit} since the run began"));
    Some(svg)
}

/// 1, 2 or 5 times a power of ten (or of whole minutes or hours), for five to ten ticks.
fn tick_step(span_ns: f64) -> f64 {
    let (minute, hour) = (60e9, 3_600e9);
    let unit = match span_ns {
        span if span > 10.0 * hour => hour,
        span if span > 10.0 * minute => minute,
        _ => 1.0,
    };
    let span = span_ns / unit;
    let rough = (span / 8.0).max(f64::MIN_POSITIVE);
    let power = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|factor| factor * power)
        .find(|step| *step >= rough)
        .unwrap_or(10.0 * power);
    if unit > 1.0 {
        step.max(1.0) * unit
    } else {
        step
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::histogram::Recorder;

    /// Every number in the plot is one, and lies within the plot.
    fn is_sound(svg: &str) -> bool {
        let numbers = svg
            .split(|c: char| !(c.is_ascii_digit() || c == '.' || c == '-'))
            .filter_map(|word| word.parse::<f64>().ok());
        !svg.contains("NaN") && !svg.contains("inf") && svg.ends_with("</svg>") && {
            // Tick labels count to 1,000 at most; coordinates end at the width or the height.
            numbers
                .into_iter()
                .all(|number| (-20.0..=10_000.0).contains(&number))
        }
    }

    #[test]
    fn nothing_measured_draws_nothing() {
        let empty = Histogram::default();
        let series = [Series {
            name: "latency",
            class: "s1",
            values: &empty,
        }];
        assert_eq!(percentiles("t", HEIGHT, &series), None);
        assert_eq!(percentiles("t", HEIGHT, &[]), None);
        assert_eq!(
            worst_over_time("t", &Timeline::default(), |bin| bin.latency_ns),
            None
        );
    }

    #[test]
    fn moments_are_drawn_beside_their_law() {
        let of = |came_ns: &[u64]| Spread {
            name: "a <way>".into(),
            from_ns: 280_000_000,
            until_ns: 380_000_000,
            came_ns: came_ns.to_vec(),
            test: String::new(),
        };
        assert_eq!(spread(&of(&[])), None);
        let svg = spread(&of(&[300_000_000, 200_000_000, 500_000_000])).unwrap();
        assert!(is_sound(&svg), "{svg}");
        assert!(
            svg.contains("a &lt;way&gt;") && svg.contains("3 trials"),
            "{svg}"
        );
        // Three steps.
        let line = svg.split("class=\"line s1\" d=\"").nth(1).unwrap();
        let line = line.split('"').next().unwrap();
        assert_eq!(line.matches('V').count(), 3, "{line}");
        let without = Spread {
            until_ns: 0,
            ..of(&[1])
        };
        assert_eq!(spread(&without), None);
    }

    #[test]
    fn a_span_in_which_nothing_was_sent_is_a_hole() {
        let bin = |ns| Bin {
            sent: 1,
            lateness_ns: ns,
            latency_ns: None,
            wrong: 0,
        };
        let timeline = Timeline {
            width_ns: 1_000_000,
            bins: vec![bin(Some(5_000)), bin(None), bin(Some(9_000))],
        };
        let svg = worst_over_time("t", &timeline, |bin| bin.lateness_ns).unwrap();
        let line = svg.split("class=\"line s1 thin\" d=\"").nth(1).unwrap();
        let line = line.split('"').next().unwrap();
        assert_eq!(line.matches('M').count(), 2, "{line}");
        assert!(is_sound(&svg), "{svg}");
    }

    #[test]
    fn ticks_are_round_and_few() {
        for (span_ns, step_ns) in [
            (12e9, 2e9),
            (1e6, 2e5),
            (8e9, 1e9),
            (3_600e9, 600e9),
            (86_400e9, 5.0 * 3_600e9),
        ] {
            assert_eq!(tick_step(span_ns), step_ns, "{span_ns}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn any_values_make_a_sound_plot(
            values in prop::collection::vec(any::<u64>(), 1..80),
            width_ns in 1_000_000..10_000_000_000_000_u64,
        ) {
            let mut recorder = Recorder::new();
            let mut timeline = Timeline { width_ns, bins: Vec::new() };
            for ns in &values {
                recorder.record(*ns % 4_000_000_000_000);
                timeline.bins.push(Bin {
                    sent: 1,
                    lateness_ns: Some(*ns % 4_000_000_000_000),
                    latency_ns: None,
                    wrong: ns % 2,
                });
            }
            let histogram = recorder.finish();
            let series = [Series { name: "latency", class: "s1", values: &histogram }];
            let svg = percentiles("t", HEIGHT_TALL, &series).unwrap();
            prop_assert!(is_sound(&svg), "{}", svg);
            let svg = worst_over_time("t", &timeline, |bin| bin.lateness_ns).unwrap();
            prop_assert!(is_sound(&svg), "{}", svg);
        }
    }
}
