//! The loops that every byte of a backup goes through, each alone: `make bench-kernels`.
//!
//! What they read is written here, the same in every run; `make bench` has the speed on real data.
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on ends with a panic")]

mod written;

use std::{
    hint::black_box,
    io::{Cursor, Read},
    time::Duration,
};

use criterion::{BenchmarkId, Criterion, Throughput};
use pgassay::{
    archive::Codec,
    pg::{
        Major, TimelineHistory,
        page::{self, PAGE_SIZE},
        wal::{
            record,
            scan::{ScanStart, ScanTarget, WalScan},
        },
    },
    restore::{
        codec::{decoder, encode},
        tar::TarReader,
    },
};

/// Decoded bytes that a decoder, and a walk over a tar, is given.
const BYTES: usize = 4 << 20;

fn page_checksum(criterion: &mut Criterion) {
    let pages = written::pages(64 * PAGE_SIZE);
    let mut group = criterion.benchmark_group("page");
    group.throughput(Throughput::Bytes(pages.len() as u64));
    for (name, verify) in [("checksum", false), ("verify", true)] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                for (block, page) in (0..).zip(pages.as_chunks::<PAGE_SIZE>().0) {
                    if verify {
                        black_box(page::verify(black_box(page), block));
                    } else {
                        black_box(page::checksum(black_box(page), block));
                    }
                }
            });
        });
    }
    group.finish();
}

fn record_crc(criterion: &mut Criterion) {
    let bytes = written::pages(BYTES);
    let mut group = criterion.benchmark_group("CRC-32C of a WAL record");
    for length in [64, 200, 2000, 8250] {
        group.throughput(Throughput::Bytes(length as u64));
        group.bench_with_input(BenchmarkId::from_parameter(length), &length, |bencher, length| {
            bencher.iter(|| record::crc(black_box(&bytes[..*length])));
        });
    }
    group.finish();
}

/// Every page header, every record's headers and CRC, and what the records say.
fn wal_walk(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("WAL record walk");
    for (name, image_every) in [("small records", 0), ("one page image in 16", 16)] {
        let wal = written::segment(Major::V15, image_every);
        group.throughput(Throughput::Bytes(wal.bytes.len() as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let mut scan = WalScan::new(ScanStart {
                    major: Major::V15,
                    system_id: wal.system_id,
                    segment_size: wal.size,
                    start: wal.start,
                    history: TimelineHistory::root(wal.timeline),
                    target: ScanTarget::Latest,
                    exclusive: false,
                    min_recovery_point: None,
                });
                scan.segment(wal.timeline, wal.number, black_box(wal.bytes.as_slice()));
                let summary = scan.finish();
                assert_eq!((summary.damage, summary.records), (None, wal.records));
            });
        });
    }
    group.finish();
}

fn tar_walk(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("tar walk");
    for size in [8 << 10, 256 << 10] {
        let tar = written::tar(BYTES, size);
        group.throughput(Throughput::Bytes(tar.len() as u64));
        let name = format!("files of {} KiB", size >> 10);
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let mut reader = TarReader::new(Cursor::new(black_box(&tar)));
                let mut sum = 0;
                while reader.next_entry().unwrap().is_some() {
                    loop {
                        let count = reader.data().unwrap().len();
                        if count == 0 {
                            break;
                        }
                        reader.consume(count);
                        sum += count;
                    }
                }
                assert_eq!(sum, BYTES);
            });
        });
    }
    group.finish();
}

fn decoders(criterion: &mut Criterion) {
    let plain = written::pages(BYTES);
    let mut group = criterion.benchmark_group("decode");
    group.throughput(Throughput::Bytes(plain.len() as u64));
    let mut buffer = vec![0; 256 * 1024];
    for codec in Codec::ALL {
        let encoded = encode(codec, &plain).unwrap();
        group.bench_function(format!("{codec:?}").to_lowercase(), |bencher| {
            bencher.iter_batched(
                || encoded.clone(),
                |encoded| {
                    let mut decoder = decoder(codec, Cursor::new(encoded));
                    let mut sum = 0;
                    loop {
                        match decoder.read(&mut buffer).unwrap() {
                            0 => break,
                            count => sum += count,
                        }
                    }
                    assert_eq!(sum, plain.len());
                },
                criterion::BatchSize::LargeInput,
            );
        });
    }
    group.finish();
}

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(3))
        .configure_from_args();
    page_checksum(&mut criterion);
    record_crc(&mut criterion);
    wal_walk(&mut criterion);
    tar_walk(&mut criterion);
    decoders(&mut criterion);
    criterion.final_summary();
}
