//! As much of SVG as a plot needs.

use std::fmt::Write as _;

/// A drawing that grows.
#[derive(Debug)]
pub(super) struct Svg {
    text: String,
}

/// Where a text stands by its point.
#[derive(Debug, Clone, Copy)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

/// A point in pixels, from the left and from the top.
pub(super) type Point = (f64, f64);

impl Svg {
    /// White, so that it can be read on dark pages too.
    pub(super) fn new(width: f64, height: f64) -> Self {
        let mut text = String::new();
        // Writing into a string does not fail.
        let _ = write!(
            text,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" \
             font-family=\"sans-serif\" font-size=\"12\" fill=\"#222\">\n\
             <rect width=\"{width:.0}\" height=\"{height:.0}\" fill=\"#fff\"/>\n"
        );
        Self { text }
    }

    pub(super) fn line(&mut self, (x1, y1): Point, (x2, y2): Point, color: &str, width: f64) {
        let _ = writeln!(
            self.text,
            "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"{color}\" stroke-width=\"{width}\"/>"
        );
    }

    pub(super) fn path(&mut self, points: &[Point], color: &str) {
        if points.is_empty() {
            return;
        }
        let points: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let _ = writeln!(
            self.text,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{color}\" stroke-width=\"2\"/>",
            points.join(" ")
        );
    }

    pub(super) fn dot(&mut self, (x, y): Point, radius: f64, color: &str, title: &str) {
        let _ = writeln!(
            self.text,
            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius}\" fill=\"{color}\"><title>{}</title></circle>",
            escaped(title)
        );
    }

    pub(super) fn label(&mut self, (x, y): Point, anchor: Anchor, size: f64, text: &str) {
        let anchor = anchor.text();
        let _ = writeln!(
            self.text,
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" font-size=\"{size}\">{}</text>",
            escaped(text)
        );
    }

    /// A label that is read from the bottom to the top.
    pub(super) fn upright(&mut self, (x, y): Point, text: &str) {
        let _ = writeln!(
            self.text,
            "<text transform=\"translate({x:.1} {y:.1}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
            escaped(text)
        );
    }

    pub(super) fn finish(mut self) -> String {
        self.text.push_str("</svg>\n");
        self.text
    }
}

impl Anchor {
    const fn text(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Middle => "middle",
            Self::End => "end",
        }
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
