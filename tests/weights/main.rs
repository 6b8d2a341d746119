//! The readers of foreign weights against files that Keras and PyTorch wrote.
//!
//! `data/weights/make.py` gave every weight a value by formula and saved it with the libraries'
//! own code; only where a value lies in timm's order of axes is worked out here.

mod check;
mod corrupt;
mod fixture;
mod heads;
mod keras;
mod pytorch;
