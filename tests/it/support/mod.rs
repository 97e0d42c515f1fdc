//! The parts that stories are played with: the daemon under test, real helms, a real registry,
//! and the charts. Nothing here asserts a promise; that is what the modules beside it are for.

pub mod browser;
pub mod certificates;
pub mod charts_index;
pub mod daemon;
pub mod docker_registry;
pub mod fake_registry;
pub mod folder;
pub mod forward_proxy;
pub mod guarded;
pub mod helm;
pub mod http;
pub mod keyring;
pub mod kubernetes;
pub mod layout;
pub mod namespace;
pub mod nginx;
pub mod odd;
pub mod other_registry;
pub mod paper;
pub mod process;
pub mod readers;
pub mod served;
pub mod shop;
pub mod story;
pub mod tls_front;
pub mod token_issuer;
pub mod tools;
pub mod wiretap;
pub mod zoo;
