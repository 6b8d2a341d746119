//! Turns how the program ended into its exit status.

#[global_allocator]
static ALLOCATOR: xcept::kernel::Recycling = xcept::kernel::Recycling;

fn main() -> std::process::ExitCode {
    let status = xcept::cli::run(std::env::args_os());
    std::process::ExitCode::from(status as u8)
}
