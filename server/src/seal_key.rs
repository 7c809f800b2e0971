//! Where a node's seal keys come from: the settings, or a file that an embedded log's first start makes.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use leadway_config::{Config, LogKind};
use leadway_domain::seal::Keyring;
use leadway_domain::settings::Settings;

/// In the folder of an embedded log, so that a copy of the folder is whole.
const FILE: &str = "seal.key";
/// Who may read the file: its owner.
const MODE: u32 = 0o600;

/// The keys of a node.
pub(crate) struct SealKeys {
    pub(crate) ring: Keyring,
    /// The file that they stand in, where they do not come from the settings.
    file: Option<PathBuf>,
    /// A key for a log that has none yet. It is in the ring, and not in the file before [`settle`](Self::settle).
    candidate: Option<String>,
}

impl SealKeys {
    /// Reads them; makes a candidate where an embedded log may be at its first start.
    pub(crate) fn load(config: &Config) -> anyhow::Result<Self> {
        if !config.seal_key.is_empty() {
            let ring = Keyring::parse(config.seal_key.expose()).context("seal_key (LEADWAY_SEAL_KEY)")?;
            return Ok(Self { ring, file: None, candidate: None });
        }
        let beside_log = (config.log == LogKind::Embedded).then(|| config.data.join("log").join(FILE));
        let Some(file) = config.seal_key_file.clone().or(beside_log) else {
            return Ok(Self { ring: Keyring::default(), file: None, candidate: None });
        };
        let candidate = match fs::read_to_string(&file) {
            Ok(text) => {
                let ring = Keyring::parse(&text).with_context(|| file.display().to_string())?;
                ensure!(ring.first().is_some(), "{} holds no key: put in what stood there", file.display());
                warn_of_readers(&file);
                return Ok(Self { ring, file: Some(file), candidate: None });
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound && config.log == LogKind::Embedded => new_key()?,
            Err(error) => {
                return Err(error).with_context(|| format!("seal_key_file: {} cannot be read", file.display()));
            }
        };
        Ok(Self { ring: Keyring::parse(&candidate)?, file: Some(file), candidate: Some(candidate) })
    }

    /// Refuses a log whose secrets are sealed with another key; keeps the candidate for one that has none yet, before
    /// anything is sealed with it.
    pub(crate) fn settle(&self, settings: &Settings) -> anyhow::Result<()> {
        let place = match &self.file {
            Some(file) => format!("as a line of {}", file.display()),
            None => "in LEADWAY_SEAL_KEY, or in a file that seal_key_file names".to_owned(),
        };
        if let Some(needed) = settings.seals().lacks() {
            let has = match self.ring.first() {
                Some(first) if self.candidate.is_none() => format!("has {first}"),
                _ => "has none".to_owned(),
            };
            bail!(
                "the secrets of this log are sealed with key {needed}, and this node {has}: put that key {place}. Every node \
                 of a log needs it; an embedded log has it in its file log/{FILE}. If it is lost for good, `leadway reseal --lost` gives \
                 up what only it opens"
            );
        }
        ensure!(
            self.ring.first().is_some(),
            "log = \"kafka\" needs a key that secrets are sealed with, the same on every node, and this node has none: make \
             one with `openssl rand -hex 32`, keep a copy in a safe place, and put it {place}"
        );
        self.keep()
    }

    /// Keeps the candidate, if these keys are one.
    pub(crate) fn keep(&self) -> anyhow::Result<()> {
        if let (Some(candidate), Some(file)) = (&self.candidate, &self.file) {
            write_anew(file, &format!("{candidate}\n"))
                .with_context(|| format!("{} cannot be made", file.display()))?;
            tracing::info!(file = %file.display(), "made the key that secrets are sealed with; a backup needs it");
        }
        Ok(())
    }

    /// Puts a new key before those in the file.
    pub(crate) fn add(&self) -> anyhow::Result<Self> {
        let file = self.file.as_ref().context(
            "--new makes a key in a file, and this node's key comes from LEADWAY_SEAL_KEY: put a new key before the one there, \
             run this without --new, then take the old one out",
        )?;
        let old = fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))?;
        let both = format!("{}\n{}\n", new_key()?, old.trim());
        write_anew(file, &both).with_context(|| format!("{} cannot be written", file.display()))?;
        Ok(Self { ring: Keyring::parse(&both)?, file: Some(file.clone()), candidate: None })
    }

    /// Leaves only the first key in the file: nothing is sealed with the others any more.
    pub(crate) fn drop_others(&self) -> anyhow::Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        let text = fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))?;
        let first = text.split_whitespace().next().unwrap_or_default();
        write_anew(file, &format!("{first}\n")).with_context(|| format!("{} cannot be written", file.display()))
    }
}

fn new_key() -> anyhow::Result<String> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).context("the operating system gives no random bits for a seal key")?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Writes the file whole and durably, or leaves it as it was.
fn write_anew(file: &Path, text: &str) -> io::Result<()> {
    let partial = file.with_extension("partial");
    let mut written = OpenOptions::new().write(true).create(true).truncate(true).mode(MODE).open(&partial)?;
    written.set_permissions(fs::Permissions::from_mode(MODE))?;
    written.write_all(text.as_bytes())?;
    written.sync_all()?;
    fs::rename(&partial, file)?;
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

/// Warns where others than the owner may read a file or folder of secrets.
pub(crate) fn warn_of_readers(path: &Path) {
    let Ok(mode) = fs::metadata(path).map(|about| about.permissions().mode() & 0o777) else { return };
    if mode & 0o077 != 0 {
        let path = path.display();
        tracing::warn!(%path, mode = format!("{mode:o}"), "others than its owner may read this; chmod -R go= {path} mends it");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use leadway_domain::settings::{Change, Entity};

    fn config(data: &Path) -> Config {
        fs::create_dir_all(data.join("log")).unwrap();
        Config { data: data.to_owned(), ..Config::default() }
    }

    /// Settings of a log whose vault was made with these keys.
    fn sealed_with(keys: &SealKeys) -> Settings {
        let mut settings = Settings::with_keys(keys.ring.clone());
        let vault = settings.seals().new_vault([7; 32], [1; 12]).unwrap();
        settings.apply(&Change::Put(Entity::Vault(vault)));
        settings
    }

    fn as_seen_by(keys: &SealKeys, settings: &Settings) -> Settings {
        let mut seen = Settings::with_keys(keys.ring.clone());
        seen.apply(&Change::Put(Entity::Vault((**settings.seals().vault().unwrap()).clone())));
        seen
    }

    #[test]
    fn the_first_start_makes_a_key_for_its_owner_alone_and_later_ones_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let config = config(folder.path());
        let file = folder.path().join("log/seal.key");
        let first = SealKeys::load(&config).unwrap();
        assert!(!file.exists(), "it may be the log of another key");
        first.settle(&Settings::with_keys(first.ring.clone())).unwrap();
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        let again = SealKeys::load(&config).unwrap();
        assert_eq!(again.ring.first(), first.ring.first());
        again.settle(&as_seen_by(&again, &sealed_with(&first))).unwrap();
    }

    #[test]
    fn a_log_of_another_key_is_refused_by_name_and_no_key_is_made() {
        let folder = tempfile::tempdir().unwrap();
        let config = config(folder.path());
        let owner = SealKeys { ring: Keyring::parse(&"0a".repeat(32)).unwrap(), file: None, candidate: None };
        let settings = sealed_with(&owner);
        let needed = owner.ring.first().unwrap().to_string();
        let stranger = SealKeys::load(&config).unwrap();
        let error = stranger.settle(&as_seen_by(&stranger, &settings)).unwrap_err().to_string();
        assert!(error.contains(&needed) && error.contains("has none") && error.contains("seal.key"), "{error}");
        assert!(!folder.path().join("log/seal.key").exists());

        let kafka =
            Config { log: LogKind::Kafka, seal_key: leadway_domain::secret::Secret::new("0b".repeat(32)), ..config };
        let other = SealKeys::load(&kafka).unwrap();
        let error = other.settle(&as_seen_by(&other, &settings)).unwrap_err().to_string();
        let has = other.ring.first().unwrap().to_string();
        assert!(error.contains(&needed) && error.contains(&has) && !error.contains("0b0b"), "{error}");
    }

    #[test]
    fn kafka_needs_a_key_that_is_given() {
        let kafka = Config { log: LogKind::Kafka, ..Config::default() };
        let none = SealKeys::load(&kafka).unwrap();
        let error = none.settle(&Settings::default()).unwrap_err().to_string();
        assert!(error.contains("openssl rand -hex 32") && error.contains("LEADWAY_SEAL_KEY"), "{error}");
        let missing = Config { seal_key_file: Some("/nowhere/key".into()), ..kafka };
        assert!(format!("{:#}", SealKeys::load(&missing).err().unwrap()).contains("/nowhere/key"));
    }

    #[test]
    fn a_new_key_comes_first_and_the_old_one_goes_when_nothing_needs_it() {
        let folder = tempfile::tempdir().unwrap();
        let config = config(folder.path());
        let first = SealKeys::load(&config).unwrap();
        first.settle(&Settings::with_keys(first.ring.clone())).unwrap();
        let both = SealKeys::load(&config).unwrap().add().unwrap();
        let ids: Vec<_> = both.ring.ids().cloned().collect();
        assert_eq!((ids.len(), Some(&ids[1])), (2, first.ring.first()));
        both.drop_others().unwrap();
        assert_eq!(SealKeys::load(&config).unwrap().ring.ids().cloned().collect::<Vec<_>>(), ids[..1]);
    }
}
