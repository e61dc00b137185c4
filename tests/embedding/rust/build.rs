// HANSE_LIB: the folder that holds libhanse.so.
fn main() {
    let folder = std::env::var("HANSE_LIB").expect("HANSE_LIB names the folder of libhanse.so");
    println!("cargo:rerun-if-env-changed=HANSE_LIB");
    println!("cargo:rustc-link-search=native={folder}");
    println!("cargo:rustc-link-lib=dylib=hanse");
    println!("cargo:rustc-link-arg=-Wl,-rpath,{folder}");
}
