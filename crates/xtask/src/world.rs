//! Makes the shapes of the world map that charts draw, from public data, again and again the same.
//!
//! Shapes come from Natural Earth (public domain) as the npm package `world-atlas` packs them (ISC), codes and names from
//! `i18n-iso-countries` (MIT). They are projected (Equal Earth), simplified arc by arc, so that neighbours keep their
//! common border, and written as paths of whole numbers. Invariant: every ISO 3166-1 code has a place.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::run::{check, command, root, target};

const PACKAGES: [&str; 2] = ["world-atlas@2.0.2", "i18n-iso-countries@7.14.0"];
/// Units across the map, from west to east.
const WIDTH: f64 = 1_000.0;
/// Triangles smaller than this many square units do not make a corner.
const DETAIL: f64 = 7.0;
/// Islands smaller than this many square units are left out, unless a country has nothing else.
const ISLAND: f64 = 14.0;
/// Countries smaller than this many square units are drawn as a dot.
const DOT: f64 = 7.0;
/// Not drawn: it has no addresses to speak of and would take a fifth of the height.
const LEFT_OUT: &str = "AQ";
/// What the atlas has no shape of its own for: code, longitude, latitude.
const ALSO: [(&str, f64, f64); 14] = [
    ("BQ", -68.3, 12.2),
    ("BV", 3.4, -54.4),
    ("CC", 96.8, -12.2),
    ("CX", 105.6, -10.5),
    ("GF", -53.1, 4.0),
    ("GI", -5.3, 36.1),
    ("GP", -61.5, 16.2),
    ("MQ", -61.0, 14.6),
    ("RE", 55.5, -21.1),
    ("SJ", 16.0, 78.5),
    ("TK", -171.8, -9.2),
    ("TV", 179.2, -8.5),
    ("UM", 166.6, 19.3),
    ("YT", 45.2, -12.8),
];

type Point = (f64, f64);
type Ring = Vec<Point>;

/// Downloads the data, and writes the file that the crate of charts compiles in.
pub(crate) fn make() -> Result<()> {
    let work = target().join("world");
    std::fs::create_dir_all(&work)?;
    let mut npm = command("npm");
    npm.args(["install", "--no-save", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix"]).arg(&work);
    check(npm.args(PACKAGES))?;
    let modules = work.join("node_modules");
    let read = |path: &str| -> Result<Value> {
        let path = modules.join(path);
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        Ok(serde_json::from_str(&text)?)
    };
    let coarse = Atlas::read(&read("world-atlas/countries-110m.json")?).context("countries-110m.json")?;
    let fine = Atlas::read(&read("world-atlas/countries-50m.json")?).context("countries-50m.json")?;
    let codes = codes(&read("i18n-iso-countries/codes.json")?, &read("i18n-iso-countries/langs/en.json")?)?;
    let text = draw(&coarse, &fine, &codes);
    let path = root().join("crates/chart/data/world.tsv");
    std::fs::write(&path, &text).with_context(|| path.display().to_string())?;
    println!(
        "{}: {} bytes, {} countries",
        shown(&path),
        text.len(),
        text.lines().filter(|l| !l.starts_with('#')).count()
    );
    Ok(())
}

fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

/// A country's code and name, by its number.
fn codes(codes: &Value, names: &Value) -> Result<BTreeMap<String, (String, String)>> {
    let mut found = BTreeMap::new();
    for row in codes.as_array().context("codes.json is no list")? {
        let text = |place: usize| row[place].as_str().unwrap_or_default().to_owned();
        let name = &names["countries"][text(0)];
        let name = name.as_str().or_else(|| name[0].as_str()).context("a code without a name")?;
        found.insert(text(2), (text(0), name.to_owned()));
    }
    Ok(found)
}

/// Rings, each of the numbers of its arcs.
type Polygon = Vec<Vec<i64>>;

/// A topology: arcs that borders are put together from.
struct Atlas {
    arcs: Vec<Ring>,
    /// Of each geometry its number, its name and its polygons.
    countries: Vec<(String, String, Vec<Polygon>)>,
}

impl Atlas {
    fn read(topology: &Value) -> Option<Self> {
        let pair = |value: &Value| Some((value[0].as_f64()?, value[1].as_f64()?));
        let scale = pair(&topology["transform"]["scale"])?;
        let origin = pair(&topology["transform"]["translate"])?;
        let arcs = topology["arcs"].as_array()?.iter().map(|arc| {
            let (mut x, mut y) = (0.0, 0.0);
            let steps = arc.as_array()?.iter().map(|step| {
                let (dx, dy) = pair(step)?;
                (x, y) = (x + dx, y + dy);
                Some(projected(x * scale.0 + origin.0, y * scale.1 + origin.1))
            });
            steps.collect::<Option<Ring>>()
        });
        let arcs = arcs.collect::<Option<_>>()?;
        let countries = topology["objects"]["countries"]["geometries"].as_array()?.iter().map(|country| {
            let polygons = match country["type"].as_str()? {
                "Polygon" => vec![rings(&country["arcs"])?],
                _ => country["arcs"].as_array()?.iter().map(rings).collect::<Option<_>>()?,
            };
            let id = country["id"].as_str().unwrap_or_default().to_owned();
            Some((id, country["properties"]["name"].as_str()?.to_owned(), polygons))
        });
        Some(Self { arcs, countries: countries.collect::<Option<_>>()? })
    }

    /// Puts a ring together; an arc with a negative number is walked backwards.
    fn ring(&self, arcs: &[i64]) -> Ring {
        let mut ring = Ring::new();
        for arc in arcs {
            let forwards = &self.arcs[usize::try_from(if *arc < 0 { !arc } else { *arc }).unwrap_or_default()];
            let skipped = usize::from(!ring.is_empty());
            if *arc < 0 {
                ring.extend(forwards.iter().rev().skip(skipped));
            } else {
                ring.extend(forwards.iter().skip(skipped));
            }
        }
        on_one_side(ring)
    }
}

/// A ring that jumps from one edge of the map to the other is drawn on the side where it has more corners.
fn on_one_side(ring: Ring) -> Ring {
    let jumps = ring.windows(2).any(|pair| (pair[0].0 - pair[1].0).abs() > WIDTH / 2.0);
    if !jumps {
        return ring;
    }
    let (west, east): (Ring, Ring) = ring.into_iter().partition(|point| point.0 < WIDTH / 2.0);
    if west.len() > east.len() { west } else { east }
}

fn rings(value: &Value) -> Option<Vec<Vec<i64>>> {
    value.as_array()?.iter().map(|ring| ring.as_array()?.iter().map(Value::as_i64).collect()).collect()
}

/// The Equal Earth projection (Šavrič, Patterson and Jenny, 2018), north up, from the western edge of the map.
fn projected(longitude: f64, latitude: f64) -> Point {
    const A: [f64; 4] = [1.340_264, -0.081_106, 0.000_893, 0.003_796];
    let root = 3.0_f64.sqrt();
    let theta = (root / 2.0 * latitude.to_radians().sin()).asin();
    let square = theta * theta;
    let six = square * square * square;
    let x = 2.0 * root * longitude.to_radians() * theta.cos()
        / (3.0 * (9.0 * A[3] * six * square + 7.0 * A[2] * six + 3.0 * A[1] * square + A[0]));
    let y = theta * (A[3] * six * square + A[2] * six + A[1] * square + A[0]);
    let half = 2.0 * root * std::f64::consts::PI / (3.0 * A[0]);
    // From the north of Greenland down.
    ((x / half + 1.0) * WIDTH / 2.0, (1.302 - y) / half * WIDTH / 2.0)
}

/// Leaves out the corners that change least, as long as their triangles are small (Visvalingam and Whyatt, 1993).
fn simplified(arc: &[Point]) -> Ring {
    let mut points = arc.to_vec();
    loop {
        let smallest = (1..points.len().saturating_sub(1))
            .map(|place| (place, triangle(points[place - 1], points[place], points[place + 1])))
            .min_by(|a, b| a.1.total_cmp(&b.1));
        match smallest {
            Some((place, size)) if size < DETAIL => points.remove(place),
            _ => return points,
        };
    }
}

fn triangle(a: Point, b: Point, c: Point) -> f64 {
    ((b.0 - a.0) * (c.1 - a.1) - (c.0 - a.0) * (b.1 - a.1)).abs() / 2.0
}

fn area(ring: &[Point]) -> f64 {
    let next = ring.iter().cycle().skip(1);
    (ring.iter().zip(next).map(|(a, b)| a.0 * b.1 - b.0 * a.1).sum::<f64>() / 2.0).abs()
}

fn middle(ring: &[Point]) -> Point {
    let count = ring.len().max(1) as f64;
    let sum = ring.iter().fold((0.0, 0.0), |sum, point| (sum.0 + point.0, sum.1 + point.1));
    (sum.0 / count, sum.1 / count)
}

fn largest(rings: &[Ring]) -> Option<&Ring> {
    rings.iter().max_by(|a, b| area(a).total_cmp(&area(b)))
}

/// Which code a shape belongs to: those without a number of their own are drawn with the country whose code they have.
fn code_of<'a>(id: &str, name: &str, codes: &'a BTreeMap<String, (String, String)>) -> Option<&'a (String, String)> {
    let id = match name {
        "N. Cyprus" => "196",
        "Somaliland" => "706",
        "Kosovo" => "983",
        _ => id,
    };
    codes.get(id)
}

fn draw(coarse: &Atlas, fine: &Atlas, codes: &BTreeMap<String, (String, String)>) -> String {
    let arcs = coarse.arcs.iter().map(|arc| simplified(arc)).collect();
    let simple = Atlas { arcs, countries: coarse.countries.clone() };
    let shapes = shapes(&simple, codes);
    let exact = self::shapes(fine, codes);
    let mut text = String::from(
        "# Generated by `cargo xtask world`. Shapes: Natural Earth (public domain), by world-atlas (ISC, Michael Bostock).\n\
         # Codes and names: ISO 3166-1, by i18n-iso-countries (MIT, widdix GmbH). Equal Earth projection, 1000 units wide.\n\
         # code, name, x and y of its middle, path; a country without a path is drawn as a dot.\n",
    );
    let mut rows: Vec<&(String, String)> = codes.values().filter(|(code, _)| code != LEFT_OUT).collect();
    rows.sort();
    for (code, name) in rows {
        let drawn: Vec<&Ring> = shapes.get(code).map(|rings| kept(rings)).unwrap_or_default();
        let rings = exact.get(code).or_else(|| shapes.get(code));
        let also = ALSO
            .iter()
            .find(|(other, ..)| other == code)
            .map(|(_, longitude, latitude)| projected(*longitude, *latitude));
        let Some((x, y)) = rings.and_then(|rings| largest(rings)).map(|ring| middle(ring)).or(also) else { continue };
        let path: String = drawn.iter().map(|ring| path(ring)).collect();
        let _ = writeln!(text, "{code}\t{name}\t{x:.0}\t{y:.0}\t{path}");
    }
    text
}

fn shapes(atlas: &Atlas, codes: &BTreeMap<String, (String, String)>) -> BTreeMap<String, Vec<Ring>> {
    let mut shapes: BTreeMap<String, Vec<Ring>> = BTreeMap::new();
    for (id, name, polygons) in &atlas.countries {
        let Some((code, _)) = code_of(id, name, codes) else { continue };
        // Holes are other countries, which are drawn over them.
        let outer = polygons.iter().filter_map(|rings| rings.first()).map(|ring| atlas.ring(ring));
        shapes.entry(code.clone()).or_default().extend(outer);
    }
    shapes
}

/// The rings that are large enough to be seen.
fn kept(rings: &[Ring]) -> Vec<&Ring> {
    let total: f64 = rings.iter().map(|ring| area(ring)).sum();
    if total < DOT {
        return Vec::new();
    }
    let most = largest(rings).map_or(0.0, |ring| area(ring));
    rings.iter().filter(|ring| area(ring) >= ISLAND.min(most)).collect()
}

/// A ring as a path of whole numbers, each step from the one before.
fn path(ring: &[Point]) -> String {
    let mut points: Vec<(i64, i64)> = ring.iter().map(|(x, y)| (x.round() as i64, y.round() as i64)).collect();
    points.dedup();
    if points.len() > 1 && points.first() == points.last() {
        points.pop();
    }
    let Some((first, rest)) = points.split_first().filter(|(_, rest)| rest.len() > 1) else { return String::new() };
    let mut text = format!("M{} {}l", first.0, first.1);
    let mut before = *first;
    for (place, point) in rest.iter().enumerate() {
        for (part, number) in [point.0 - before.0, point.1 - before.1].into_iter().enumerate() {
            if number >= 0 && (place, part) != (0, 0) {
                text.push(' ');
            }
            let _ = write!(text, "{number}");
        }
        before = *point;
    }
    text.push('z');
    text
}
