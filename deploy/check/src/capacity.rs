//! The tables of `docs/capacity.md`, computed from the figures that stand in it.

use std::collections::BTreeMap;

use anyhow::{Context, ensure};

/// Leads a day for which the tables say what is needed.
const SCALES: [(&str, f64); 6] = [
    ("10,000", 1e4),
    ("100,000", 1e5),
    ("1 million", 1e6),
    ("10 million", 1e7),
    ("100 million", 1e8),
    ("1 billion", 1e9),
];

const SECONDS_A_DAY: f64 = 86_400.0;
const DAYS_A_YEAR: f64 = 365.0;

/// The page with its computed tables made anew from its table of figures.
pub fn recomputed(page: &str) -> anyhow::Result<String> {
    let figures = Figures::read(page)?;
    let page = replace(page, "one node", &one_node(&figures)?)?;
    replace(&page, "many nodes", &many_nodes(&figures)?)
}

/// What the rows `| `name` | value | …` of the page say.
struct Figures(BTreeMap<String, f64>);

impl Figures {
    fn read(page: &str) -> anyhow::Result<Self> {
        let mut figures = BTreeMap::new();
        for line in page.lines() {
            let mut cells = line.split('|').map(str::trim).skip(1);
            let (Some(name), Some(value)) = (cells.next(), cells.next()) else { continue };
            let Some(name) = name.strip_prefix('`').and_then(|n| n.strip_suffix('`')) else { continue };
            let value = value.replace(',', "").parse().with_context(|| format!("{name} is no number: {value:?}"))?;
            ensure!(figures.insert(name.to_owned(), value).is_none(), "{name} is given twice");
        }
        Ok(Self(figures))
    }

    fn get(&self, name: &str) -> anyhow::Result<f64> {
        self.0.get(name).copied().with_context(|| format!("the page does not give `{name}`"))
    }

    /// Leads a second in the busiest hour.
    fn peak(&self, leads_a_day: f64) -> anyhow::Result<f64> {
        Ok(leads_a_day / SECONDS_A_DAY * self.get("peak_factor")?)
    }

    /// Nodes that carry the peak with room to spare, at least two, so that one may be gone.
    fn nodes(&self, peak: f64, cpu_us: &str) -> anyhow::Result<f64> {
        let cores = peak * self.get(cpu_us)? / 1e6 / self.get("utilisation")?;
        Ok((cores / self.get("node_cores")?).ceil().max(2.0))
    }

    /// Dispatchers: what they compute, or what waits for clients at one moment, whichever needs more of them.
    fn dispatchers(&self, peak: f64) -> anyhow::Result<f64> {
        let waiting = peak * self.get("answer_seconds")?;
        let by_answers = waiting / self.get("max_in_flight")? / self.get("utilisation")?;
        Ok(self.nodes(peak, "dispatcher_cpu_us")?.max(by_answers.ceil()))
    }
}

fn one_node(figures: &Figures) -> anyhow::Result<String> {
    let mut table = String::from(
        "| leads a day | leads/s at the peak | cores busy at the peak | log a year | tables a year |\n\
         | --- | --- | --- | --- | --- |\n",
    );
    let most = figures.get("node_cores")? * figures.get("utilisation")?;
    for (name, leads) in SCALES {
        let peak = figures.peak(leads)?;
        let cores = peak * figures.get("embedded_cpu_us")? / 1e6;
        if cores > most {
            continue;
        }
        let year = |bytes: &str| Ok::<_, anyhow::Error>(size(leads * DAYS_A_YEAR * figures.get(bytes)?));
        let (log, tables) = (year("embedded_log_bytes")?, year("embedded_tables_bytes")?);
        table += &format!("| {name} | {} | {cores:.3} | {log} | {tables} |\n", rate(peak));
    }
    Ok(table)
}

fn many_nodes(figures: &Figures) -> anyhow::Result<String> {
    let mut table = String::from(
        "| leads a day | leads/s at the peak | partitions | ingest | router, scoring | dispatcher | Kafka cores | Kafka disk a year \
         | ScyllaDB cores | ScyllaDB disk a year |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    let replicas = figures.get("replicas")?;
    for (name, leads) in SCALES {
        let peak = figures.peak(leads)?;
        let cores = |cpu: &str| {
            Ok::<_, anyhow::Error>((peak * figures.get(cpu)? / 1e6 / figures.get("utilisation")?).ceil().max(3.0))
        };
        let year = |bytes: &str| Ok::<_, anyhow::Error>(size(leads * DAYS_A_YEAR * figures.get(bytes)? * replicas));
        // Twice what the peak needs, in dozens, which many numbers of nodes divide.
        let partitions = (peak / figures.get("partition_leads")? * 2.0 / 12.0).ceil().max(1.0) * 12.0;
        table += &format!(
            "| {name} | {} | {partitions} | {} | {} | {} | {} | {} | {} | {} |\n",
            rate(peak),
            figures.nodes(peak, "ingest_cpu_us")?,
            figures.nodes(peak, "router_cpu_us")?,
            figures.dispatchers(peak)?,
            cores("kafka_cpu_us")?,
            year("kafka_bytes")?,
            cores("scylla_cpu_us")?,
            year("scylla_bytes")?,
        );
    }
    Ok(table)
}

fn rate(leads: f64) -> String {
    if leads < 10.0 { format!("{leads:.1}") } else { format!("{leads:.0}") }
}

fn size(bytes: f64) -> String {
    let units = ["kB", "MB", "GB", "TB", "PB"];
    let (mut value, mut unit) = (bytes / 1e3, "kB");
    for next in units.iter().skip(1) {
        if value < 1e3 {
            break;
        }
        (value, unit) = (value / 1e3, next);
    }
    if value < 10.0 { format!("{value:.1} {unit}") } else { format!("{value:.0} {unit}") }
}

/// Puts `table` between the marks of that name.
fn replace(page: &str, name: &str, table: &str) -> anyhow::Result<String> {
    let (start, end) = (format!("<!-- computed: {name} -->\n"), format!("<!-- end: {name} -->"));
    let (before, rest) = page.split_once(&start).with_context(|| format!("the page has no {start:?}"))?;
    let (_, after) = rest.split_once(&end).with_context(|| format!("the page has no {end:?}"))?;
    Ok(format!("{before}{start}{table}{end}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_at_a_glance() {
        let shown = [2.5e3, 999e3, 1.5e6, 20e9, 3.65e15, 4e18].map(size);
        assert_eq!(shown, ["2.5 kB", "999 kB", "1.5 MB", "20 GB", "3.6 PB", "4000 PB"]);
    }

    #[test]
    fn nodes_carry_the_peak_and_are_never_alone() {
        let figures = Figures::read("| `cpu` | 1,000 |\n| `utilisation` | 0.5 |\n| `node_cores` | 4 |\n").unwrap();
        assert!((figures.nodes(1.0, "cpu").unwrap() - 2.0).abs() < 1e-9);
        assert!((figures.nodes(8_001.0, "cpu").unwrap() - 5.0).abs() < 1e-9);
        assert!(figures.get("other").is_err());
    }

    #[test]
    fn slow_clients_need_dispatchers_that_wait_and_not_compute() {
        let dispatchers = |answer: &str, cpu: &str| {
            let page = format!(
                "| `answer_seconds` | {answer} |\n| `dispatcher_cpu_us` | {cpu} |\n| `max_in_flight` | 500 |\n\
                 | `utilisation` | 0.5 |\n| `node_cores` | 4 |\n"
            );
            Figures::read(&page).unwrap().dispatchers(10_000.0).unwrap().to_string()
        };
        let found = [("0.01", "100"), ("0.2", "100"), ("0.2", "2,000")].map(|(answer, cpu)| dispatchers(answer, cpu));
        assert_eq!(found, ["2", "8", "10"], "by availability, by answers, by CPU");
    }
}
