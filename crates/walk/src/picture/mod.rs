//! Pictures: hosts as boxes with their guests and namespaces on top, br-int under them, br-tun and
//! the provider bridges below, then the networks that join the hosts; and a packet's way on it.
mod layout;
mod table;
mod way;

use std::fmt::Write as _;

use crate::report::Walk;
use crate::world::World;
use layout::{Layout, Node, Shape};

pub use table::reach;

/// The picture of a world without a packet.
pub fn topology(world: &World) -> String {
    let layout = Layout::of(world, 24.0);
    let mut svg = Svg::new(layout.width, layout.height);
    world_on(&layout, &mut svg);
    labels(&layout, &mut svg);
    svg.end()
}

/// The picture of a walk.
pub fn walk(world: &World, walk: &Walk) -> String {
    let layout = Layout::of(world, way::HEAD);
    let mut svg = Svg::new(layout.width, layout.height + way::FOOT);
    world_on(&layout, &mut svg);
    way::draw(&layout, walk, &mut svg);
    // Names stand over the way, or it would cross them out.
    labels(&layout, &mut svg);
    way::letters(&layout, walk, &mut svg);
    svg.end()
}

fn world_on(layout: &Layout, svg: &mut Svg) {
    for host in &layout.hosts {
        svg.rect(
            host.x,
            host.y,
            (host.w, host.h),
            ("#f6f8fb", "#b9c4d2"),
            8.0,
        );
        svg.text(
            (host.x + 12.0, host.y + 20.0),
            &host.label,
            "14",
            "#44546a",
            "start",
        );
    }
    for (a, b) in &layout.links {
        if let Some(((x1, y1), (x2, y2))) = layout.link(a, b) {
            svg.line((x1, y1), (x2, y2), "#8796a8", 1.5);
        }
    }
    for node in layout.nodes.values() {
        box_of(node, svg);
    }
}

fn labels(layout: &Layout, svg: &mut Svg) {
    for node in layout.nodes.values() {
        label(node, svg);
    }
}

fn box_of(node: &Node, svg: &mut Svg) {
    let (fill, stroke) = match node.shape {
        Shape::Guest => ("#e4f3e6", "#6aa874"),
        Shape::Namespace => ("#fdf1d3", "#cda23f"),
        Shape::LinuxBridge => ("#f1e8f7", "#a685bd"),
        Shape::Switch => ("#dfeaf7", "#6f93bf"),
        Shape::Band => ("#e9ecef", "#adb5bd"),
        Shape::Outside => ("#f3e3df", "#bf7f6f"),
    };
    svg.rect(node.x, node.y, (node.w, node.h), (fill, stroke), 5.0);
}

fn label(node: &Node, svg: &mut Svg) {
    let (mut x, mut anchor) = (node.x + node.w / 2.0, "middle");
    if node.w > 180.0 {
        (x, anchor) = (node.x + 10.0, "start");
    }
    let y = node.y + node.h / 2.0;
    let size = if node.shape == Shape::LinuxBridge {
        "10"
    } else {
        "12"
    };
    match &node.detail {
        None => svg.text((x, y + 4.0), &node.label, size, "#1f2933", anchor),
        Some(detail) => {
            svg.text((x, y - 2.0), &node.label, size, "#1f2933", anchor);
            svg.text((x, y + 11.0), detail, "9", "#5f6c7b", anchor);
        }
    }
}

/// A picture under way.
struct Svg {
    body: String,
    width: f64,
    height: f64,
}

impl Svg {
    fn new(width: f64, height: f64) -> Svg {
        Svg {
            body: String::new(),
            width,
            height,
        }
    }

    fn rect(&mut self, x: f64, y: f64, (w, h): (f64, f64), (fill, stroke): (&str, &str), r: f64) {
        let _ = writeln!(
            self.body,
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{w:.1}\" height=\"{h:.1}\" rx=\"{r}\" \
             fill=\"{fill}\" stroke=\"{stroke}\"/>"
        );
    }

    fn line(&mut self, (x1, y1): (f64, f64), (x2, y2): (f64, f64), colour: &str, width: f64) {
        let _ = writeln!(
            self.body,
            "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"{colour}\" \
             stroke-width=\"{width}\"/>"
        );
    }

    fn text(&mut self, (x, y): (f64, f64), text: &str, size: &str, colour: &str, anchor: &str) {
        let _ = writeln!(
            self.body,
            "<text x=\"{x:.1}\" y=\"{y:.1}\" font-size=\"{size}\" fill=\"{colour}\" \
             text-anchor=\"{anchor}\" paint-order=\"stroke\" stroke=\"white\" stroke-width=\"3\" \
             stroke-opacity=\"0.75\" stroke-linejoin=\"round\">{}</text>",
            escape(text)
        );
    }

    /// A line through points, with an arrow at its end.
    fn way(&mut self, points: &[(f64, f64)], colour: &str, dashed: bool) {
        let Some(((x, y), rest)) = points.split_first() else {
            return;
        };
        let mut path = format!("M{x:.1} {y:.1}");
        for (x, y) in rest {
            let _ = write!(path, " L{x:.1} {y:.1}");
        }
        let dash = if dashed {
            " stroke-dasharray=\"7 4\""
        } else {
            ""
        };
        let name = colour.trim_start_matches('#');
        let _ = writeln!(
            self.body,
            "<path d=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"3\" \
             stroke-linejoin=\"round\" stroke-opacity=\"0.85\"{dash} marker-end=\"url(#a{name})\"/>"
        );
    }

    fn raw(&mut self, text: &str) {
        self.body += text;
        self.body.push('\n');
    }

    fn end(self) -> String {
        let (w, h) = (self.width, self.height);
        let marker = |colour: &str| {
            format!(
                "<marker id=\"a{colour}\" viewBox=\"0 0 10 10\" refX=\"7\" refY=\"5\" \
                 markerWidth=\"4\" markerHeight=\"4\" orient=\"auto-start-reverse\">\
                 <path d=\"M0 0L10 5L0 10z\" fill=\"#{colour}\"/></marker>"
            )
        };
        let markers: String = way::COLOURS
            .iter()
            .map(|c| marker(c.trim_start_matches('#')))
            .collect();
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{w:.0}\" height=\"{h:.0}\" \
             viewBox=\"0 0 {w:.0} {h:.0}\" font-family=\"DejaVu Sans, Helvetica, Arial, sans-serif\">\n\
             <defs>{markers}</defs>\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n{}</svg>\n",
            self.body
        )
    }
}

/// Text that may stand in the picture.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

/// As much of a text as has room.
fn cut(text: &str, room: usize) -> String {
    if text.chars().count() <= room {
        return text.to_owned();
    }
    let start: String = text.chars().take(room.saturating_sub(1)).collect();
    format!("{start}…")
}
