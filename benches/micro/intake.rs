//! One posted lead: all that ingest does between a request and the log, and the two steps of it that have a name.

use std::sync::Arc;

use criterion::{BatchSize, Criterion, Throughput};
use http::{Request, StatusCode};
use http_body_util::Full;
use leadway_domain::record::LeadRecord;
use leadway_domain::{Addressing, Clock, ZipDirectory};
use leadway_eventlog::{NewRecord, SettingsHandle};
use leadway_ingest::{Ingest, Options};
use tokio_util::sync::CancellationToken;

use crate::at_once::LogAtOnce;
use crate::one_thread;
use crate::sample::{self, KEY, Sample};

/// A request that brings many leads brings so many.
const MANY: u64 = 100;

pub(crate) fn bench(criterion: &mut Criterion) {
    let (runtime, sample) = (one_thread(), Sample::new());
    let ingest = &runtime.block_on(ready());
    // No lead comes twice: each goes through the submission window as a new one.
    let mut numbers = 0..;
    let mut group = criterion.benchmark_group("intake");

    let json = |from: u64| ("application/json", sample::json(from));
    let form = |from: u64| ("application/x-www-form-urlencoded", sample::form(from));
    let array = |from: u64| {
        let leads: Vec<_> = (from * MANY..(from + 1) * MANY).map(|n| sample::json(n + (1 << 24))).collect();
        ("application/json", format!("[{}]", leads.join(",")))
    };
    type Post<'f> = &'f dyn Fn(u64) -> (&'static str, String);
    let ways: [(&str, u64, Post<'_>); 3] = [
        ("one request, JSON", 1, &json),
        ("one request, form", 1, &form),
        ("one request, JSON, 100 leads", MANY, &array),
    ];
    for (name, leads, post) in ways {
        group.throughput(Throughput::Elements(leads)).bench_function(name, |b| {
            b.to_async(&runtime).iter_batched(
                || request(post(numbers.next().unwrap())),
                |request| async move {
                    let answer = ingest.handle(request).await;
                    assert_eq!(answer.status(), StatusCode::ACCEPTED);
                    answer
                },
                BatchSize::SmallInput,
            );
        });
    }

    group.throughput(Throughput::Elements(1));
    group.bench_function("parse and normalise, JSON", |b| {
        let next = || (numbers.next().unwrap(), sample::json(0).into_bytes());
        b.iter_batched(next, |(n, body)| sample.read(n, body).unwrap(), BatchSize::SmallInput);
    });
    group.bench_function("make the record", |b| {
        let next = || LeadRecord::Received(Arc::new(sample.lead(numbers.next().unwrap())));
        let now = sample.intake(0).now;
        b.iter_batched_ref(next, |lead| NewRecord::of(lead, now), BatchSize::SmallInput);
    });
    group.finish();
}

fn request((content_type, body): (&'static str, String)) -> Request<Full<bytes::Bytes>> {
    let request = Request::post("/webhook/provider-provider_0").header("x-api-key", KEY);
    request.header("content-type", content_type).body(Full::new(body.into())).unwrap()
}

/// A front that has loaded its window.
async fn ready() -> Ingest {
    let settings = SettingsHandle::follow(Arc::new(sample::log_with_settings(1).await)).await.unwrap();
    let (log, zips) = (Arc::new(LogAtOnce::default()), ZipDirectory::builtin());
    let ingest = Ingest::new(log, settings, zips, Clock::system(), Addressing::default(), Options::default());
    let following = ingest.clone();
    tokio::spawn(async move { following.follow(CancellationToken::new()).await });
    while !ingest.is_ready() {
        tokio::task::yield_now().await;
    }
    ingest
}
