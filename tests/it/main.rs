//! Every promise of the README, told as a story to the real binary: one module a promise.
//!
//! `support/` holds the parts the stories are played with: the daemon, our scriptable fake
//! registry, Debian's docker-registry and real helm binaries (fetched by `make tools`).

mod support;

mod api;
mod archives;
mod auth;
mod binary;
mod browser;
mod byte_stable;
mod chart;
mod chart_cache;
mod clients;
mod codings;
mod credentials;
mod discovery;
mod endpoints;
mod examples;
mod fake_registry_is_honest;
mod fake_registry_keeps_its_word;
mod faults;
mod filters;
mod fixtures;
mod flags;
mod freshness;
mod frugal;
mod gold;
mod goldens;
mod harbor;
mod image_indexes;
mod index_command;
mod index_endpoint;
mod integrity;
mod large_listings;
mod layout;
mod local;
mod log_reader;
mod logs;
mod metrics;
mod mirror;
mod no_way_out;
mod odd_answers;
mod other_registries;
mod page;
mod paging;
mod paper_readers;
mod prefixes;
mod properties;
mod proxies;
mod pushed_by_hand;
mod real_setups;
mod registries;
mod shares;
mod start_stop;
mod strangers;
mod throttled;
mod tls;
mod verdicts;
mod walk;
mod ways_out;
