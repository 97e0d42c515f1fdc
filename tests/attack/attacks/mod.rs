//! The attackers, by what they do to a server: sit there, pour, read badly, talk nonsense, hang up,
//! or ask for what its registry spoils.

pub mod hang_up;
pub mod pour;
pub mod pull;
pub mod read_badly;
pub mod sit;
pub mod talk;
