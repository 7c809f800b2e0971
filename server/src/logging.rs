//! The log of the process: structured, and without telephone numbers and e-mail addresses.

use std::backtrace::Backtrace;
use std::io::{self, Write};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};

use leadway_config::{LogFormat, LoggingOptions};
use regex::bytes::{Captures, Regex};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// Whether everything that the process writes is to be JSON.
static JSON: AtomicBool = AtomicBool::new(false);

/// Starts logging to standard error. Types that hold personal data mask themselves; what a library might still let
/// through is masked on its way out. Panics are events like any other: what reads the log reads them too.
pub fn start(options: &LoggingOptions) -> anyhow::Result<()> {
    let filter = filter(options)?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(Masked).with_ansi(false);
    let started = match options.format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
    started.map_err(|e| anyhow::anyhow!("logging cannot start: {e}"))?;
    JSON.store(options.format == LogFormat::Json, Ordering::Relaxed);
    std::panic::set_hook(Box::new(|panic| {
        let (place, backtrace) = (panic.location().map(ToString::to_string), Backtrace::capture());
        let thread = std::thread::current();
        let (place, thread) = (place.unwrap_or_default(), thread.name().unwrap_or("unnamed"));
        let reason = panic.payload_as_str().unwrap_or("no reason given");
        tracing::error!(reason, place, thread, %backtrace, "a panic");
    }));
    Ok(())
}

/// Whether what is printed beside the log must be JSON too: whatever collects it reads each line as JSON.
pub fn is_json() -> bool {
    JSON.load(Ordering::Relaxed)
}

/// The filter that the settings ask for.
pub fn filter(options: &LoggingOptions) -> anyhow::Result<EnvFilter> {
    let asked = &options.filter;
    EnvFilter::try_new(asked).map_err(|e| {
        anyhow::anyhow!("logging.filter {asked:?} is not allowed: {e}; examples: info, info,leadway_dispatcher=debug")
    })
}

#[derive(Clone, Copy)]
struct Masked;

impl<'w> MakeWriter<'w> for Masked {
    type Writer = Self;

    fn make_writer(&'w self) -> Self {
        Self
    }
}

impl Write for Masked {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        io::stderr().lock().write_all(&mask(event))?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

fn mask(event: &[u8]) -> std::borrow::Cow<'_, [u8]> {
    static PERSONAL: LazyLock<Option<Regex>> = LazyLock::new(|| {
        Regex::new(
            r"(?x)
            (?P<mail> [A-Za-z0-9._%+-]+ @ [A-Za-z0-9-]+ (?:\.[A-Za-z0-9-]+)+ )
            | (?P<phone> \+1[2-9][0-9]{9}\b | \b[2-9][0-9]{2}-[0-9]{3}-[0-9]{4}\b | \([2-9][0-9]{2}\)\ ?[0-9]{3}-[0-9]{4}\b )",
        )
        .ok()
    });
    match &*PERSONAL {
        Some(regex) => regex.replace_all(event, |found: &Captures<'_>| -> Vec<u8> {
            if found.name("mail").is_some() { b"***@***".to_vec() } else { b"+1**********".to_vec() }
        }),
        None => std::borrow::Cow::Borrowed(event),
    }
}

#[cfg(test)]
mod tests {
    use super::mask;

    #[test]
    fn phones_and_mail_addresses_do_not_leave() {
        let masked = |text: &str| String::from_utf8(mask(text.as_bytes()).into_owned()).unwrap();
        for text in ["to ana.cruz+x@mail.example.com now", "phone=+12135550123", "213-555-0123", "(213) 555-0123"] {
            let out = masked(text);
            assert!(!out.contains("555") && !out.contains("ana"), "{out}");
        }
        for text in ["offset=12135550123 lead_id=4096", "2024-12-01T14:00:00Z 127.0.0.1:8080"] {
            assert_eq!(masked(text), text);
        }
    }
}
