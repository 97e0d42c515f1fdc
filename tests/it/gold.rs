use crate::support::zoo::zoo;
#[test]
fn a() {
    let start = std::time::Instant::now();
    let zoo = zoo();
    eprintln!(
        "{:?} {} {}",
        start.elapsed(),
        zoo.plain.specimens.len(),
        zoo.traps.specimens.len()
    );
    std::fs::read_dir(&zoo.plain.archives)
        .unwrap()
        .for_each(|x| eprintln!("{x:?}"));
    let _ = std::fs::remove_dir_all("/tmp/h/B-zoo");
    std::process::Command::new("cp")
        .args(["-r"])
        .arg(zoo.registry.directory())
        .arg("/tmp/h/B-zoo")
        .status()
        .unwrap();
    eprintln!("{}", zoo.registry.log().len());
}
