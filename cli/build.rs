//! How the program is linked.

fn main() {
    // At a fixed place: relocating 78,000 pointers at each start costs more than all else that a
    // stage of an environment or a fixture does until it runs (5.6 against 3.5 ms), and a cell of
    // a matrix starts many. With musl the linker must not be told alone: the compiler has chosen a
    // start that relocates, which then crashes. There, `-C relocation-model=static` says it to
    // both (`scripts/dist.sh`).
    let musl = std::env::var("CARGO_CFG_TARGET_ENV").is_ok_and(|it| it == "musl");
    if !musl {
        println!("cargo:rustc-link-arg-bins=-no-pie");
    }
}
