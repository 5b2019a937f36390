// SPDX-License-Identifier: BSD-3-Clause
// Finds libzvsock: by ZVSOCK_LIB_DIR, or where the linker looks.
fn main() {
    println!("cargo:rerun-if-env-changed=ZVSOCK_LIB_DIR");
    if let Ok(dir) = std::env::var("ZVSOCK_LIB_DIR") {
        println!("cargo:rustc-link-search=native={}", dir);
        println!("cargo:rustc-link-arg=-Wl,-rpath,{}", dir);
    }
    println!("cargo:rustc-link-lib=dylib=zvsock");
}
