//! EWS
mod answer;
mod config;
mod sizing;
mod tree;
