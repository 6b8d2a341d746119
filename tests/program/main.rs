//! The program as a whole: each file runs the binary as a user would.

mod audit;
mod classify;
mod config;
mod evaluate;
mod explain;
mod extract_features;
mod finetune;
mod finetune_network;
mod folders;
mod gradients;
mod hub;
mod hub_base;
mod hub_mirror;
mod hub_token;
mod licences;
mod lr_find;
mod not_finite;
mod outputs;
mod parity;
mod pictures;
mod rejection;
mod runs;
#[cfg(unix)]
mod signals;
mod similar;
mod tta;
mod weights_files;
mod weights_names;

mod support {
    pub mod hub_server;
    pub mod hub_user;
    pub mod program;
    #[cfg(unix)]
    pub mod pseudo_terminal;
}
