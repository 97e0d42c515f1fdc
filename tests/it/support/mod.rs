//! The parts that stories are played with.
