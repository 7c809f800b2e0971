//! `leadway explain`: what the log's settings do with a lead.

use std::sync::Arc;

use anyhow::Context;
use leadway_config::Config;
use leadway_domain::{Zip, ZipDirectory};
use leadway_eventlog::SettingsHandle;

use crate::{output, storage};

/// Prints which workspace would get a lead, and why no other. Works beside a running node.
pub async fn explain(config: &Config, product_type: &str, zip_code: &str) -> anyhow::Result<()> {
    let log = storage::log_to_read(config).await?;
    let settings = SettingsHandle::follow(log).await?.load();
    let zips = zips(config)?;
    let zip = Zip::parse(zip_code).with_context(|| format!("--zip-code {zip_code:?}"))?;
    anyhow::ensure!(
        settings.product_name(product_type).is_some(),
        "--product-type {product_type:?} is no known product; known: {}",
        settings.products.values().map(|p| p.name.as_str()).collect::<Vec<_>>().join(", ")
    );
    let explanation = leadway_router::explain(&settings, &zips, product_type, zip);
    output::print(&format!("{}\n", serde_json::to_string_pretty(&explanation)?))
}

/// The list of ZIPs that the settings ask for.
pub fn zips(config: &Config) -> anyhow::Result<Arc<ZipDirectory>> {
    let Some(path) = &config.zip_list else { return Ok(ZipDirectory::builtin()) };
    let file = std::fs::File::open(path).with_context(|| format!("{} cannot be read", path.display()))?;
    let list = ZipDirectory::from_csv(std::io::BufReader::new(file)).with_context(|| path.display().to_string())?;
    Ok(Arc::new(list))
}
