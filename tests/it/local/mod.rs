//! A folder of `.tgz` files as a chart repository: what it lists is what `helm repo index` lists of
//! the same folder, it follows the folder, and nothing in the folder harms it.

mod clients;
mod flags;
mod freshness;
mod gold;
mod hostile;
mod odd;
mod places;
