//! Files that `torch.save` wrote: a pickle of nested dictionaries, and the tensors' data beside it.
//!
//! The pickle is parsed and never run. `candle_core::pickle::PthTensors` gives tensors at the top level alone and no
//! 32-bit integers, so its parser is used and what it finds is read here.

use std::path::{Path, PathBuf};

use candle_core::pickle::{Object, Stack};

use super::zip::Archive;
use crate::error::{Error, Result};
use crate::tensors::{Tensor, Tensors, numbers};

/// A dictionary of a file.
#[derive(Clone, Debug, Default)]
pub(super) struct Dictionary {
    path: PathBuf,
    pub(super) tensors: Vec<Tensor>,
    texts: Vec<(String, String)>,
    whole: Vec<(String, i64)>,
    inner: Vec<(String, Dictionary)>,
}

impl Dictionary {
    /// Reads a file whose object is a dictionary.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let archive = Archive::read(path)?;
        let fault =
            |expected: &str, got: String| Error::Format { path: path.to_owned(), expected: expected.to_owned(), got };
        let pickle = archive.names().find(|name| name.ends_with("/data.pkl") || *name == "data.pkl");
        let pickle = pickle.ok_or_else(|| fault("a 'data.pkl'", "none".to_owned()))?.to_owned();
        let folder = pickle.strip_suffix("data.pkl").unwrap_or_default();
        let mut stack = Stack::empty();
        let parsed = stack.read_loop(&mut archive.member(&pickle)?.as_ref()).and_then(|()| stack.finalize());
        match parsed.map_err(|error| fault("a pickle of tensors", error.to_string()))? {
            Object::Dict(entries) => Self::of(path, &archive, folder, entries),
            other => Err(fault("a dictionary (state_dict)", kind(&other))),
        }
    }

    fn of(path: &Path, archive: &Archive, folder: &str, entries: Vec<(Object, Object)>) -> Result<Self> {
        let mut dictionary = Self { path: path.to_owned(), ..Self::default() };
        for (key, value) in entries {
            let Object::Unicode(name) = key else { continue };
            match value {
                Object::Unicode(text) => dictionary.texts.push((name, text)),
                Object::Int(number) => dictionary.whole.push((name, i64::from(number))),
                Object::Long(number) => dictionary.whole.push((name, number)),
                Object::Dict(entries) => dictionary.inner.push((name, Self::of(path, archive, folder, entries)?)),
                value => {
                    if let Some(tensor) = tensor(path, archive, folder, &name, value)? {
                        dictionary.tensors.push(tensor);
                    }
                }
            }
        }
        Ok(dictionary)
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.texts.iter().find(|(key, _)| key == name).map(|(_, text)| text.as_str())
    }

    pub(super) fn whole(&self, name: &str) -> Option<i64> {
        self.whole.iter().find(|(key, _)| key == name).map(|(_, number)| *number)
    }

    pub(super) fn inner(&self, name: &str) -> Option<&Self> {
        self.inner.iter().find(|(key, _)| key == name).map(|(_, dictionary)| dictionary)
    }

    /// The tensors at this level.
    pub(super) fn into_tensors(self) -> Tensors {
        Tensors::new(&self.path, self.tensors)
    }
}

fn kind(object: &Object) -> String {
    match object {
        Object::Class { module_name, class_name } => format!("class {module_name}.{class_name}"),
        Object::Reduce { callable, .. } | Object::Build { callable, .. } => format!("an object of {}", kind(callable)),
        Object::List(_) => "a list".to_owned(),
        Object::Tuple(_) => "a tuple".to_owned(),
        _ => "a single value".to_owned(),
    }
}

/// A tensor's values in row-major order; `None` if the object is something else.
fn tensor(path: &Path, archive: &Archive, folder: &str, name: &str, object: Object) -> Result<Option<Tensor>> {
    let Object::Reduce { callable, args } = object else { return Ok(None) };
    let Object::Class { class_name, .. } = *callable else { return Ok(None) };
    let Object::Tuple(mut arguments) = *args else { return Ok(None) };
    if class_name == "_rebuild_parameter" && !arguments.is_empty() {
        return tensor(path, archive, folder, name, arguments.swap_remove(0));
    }
    if class_name != "_rebuild_tensor_v2" {
        return Ok(None);
    }
    let fault =
        |got: String| Error::Format { path: path.to_owned(), expected: format!("'{name}' as a dense tensor"), got };
    let parts = (|| {
        // (storage, offset, sizes, strides, ...); a storage is ("storage", class, key, device, length).
        let [Object::PersistentLoad(storage), offset, sizes, strides, ..] = arguments.as_slice() else { return None };
        let Object::Tuple(storage) = storage.as_ref() else { return None };
        let [_, Object::Class { class_name, .. }, Object::Unicode(key), ..] = storage.as_slice() else { return None };
        Some((class_name.clone(), key.clone(), whole(offset)?, all_whole(sizes)?, all_whole(strides)?))
    })();
    let (storage, key, offset, shape, strides) = parts.ok_or_else(|| fault("another form of it".to_owned()))?;
    let data = archive.member(&format!("{folder}data/{key}"))?;
    let data = data.as_ref();
    let stored = match storage.as_str() {
        "FloatStorage" => numbers(data, f32::from_le_bytes),
        "DoubleStorage" => numbers(data, |bytes: [u8; 8]| f64::from_le_bytes(bytes) as f32),
        "HalfStorage" => numbers(data, |bytes: [u8; 2]| half::f16::from_le_bytes(bytes).to_f32()),
        "BFloat16Storage" => numbers(data, |bytes: [u8; 2]| half::bf16::from_le_bytes(bytes).to_f32()),
        "IntStorage" => numbers(data, |bytes: [u8; 4]| i32::from_le_bytes(bytes) as f32),
        "LongStorage" => numbers(data, |bytes: [u8; 8]| i64::from_le_bytes(bytes) as f32),
        "BoolStorage" | "ByteStorage" => data.iter().map(|byte| f32::from(*byte)).collect(),
        other => return Err(fault(other.to_owned())),
    };
    let values = strided(&stored, offset, &shape, &strides).ok_or_else(|| fault("one that ends early".to_owned()))?;
    Ok(Some(Tensor { name: name.to_owned(), shape, values }))
}

/// Values in row-major order of a view with any strides.
fn strided(stored: &[f32], offset: usize, shape: &[usize], strides: &[usize]) -> Option<Vec<f32>> {
    let n = shape.iter().try_fold(1_usize, |n, size| n.checked_mul(*size))?;
    if shape.len() != strides.len() || n > stored.len().max(1) {
        return None;
    }
    let mut values = Vec::with_capacity(n);
    let mut index = vec![0_usize; shape.len()];
    for _ in 0..n {
        let at = offset + index.iter().zip(strides).map(|(index, stride)| index * stride).sum::<usize>();
        values.push(*stored.get(at)?);
        for axis in (0..shape.len()).rev() {
            index[axis] += 1;
            if index[axis] < shape[axis] {
                break;
            }
            index[axis] = 0;
        }
    }
    Some(values)
}

fn whole(object: &Object) -> Option<usize> {
    match object {
        Object::Int(number) => usize::try_from(*number).ok(),
        Object::Long(number) => usize::try_from(*number).ok(),
        _ => None,
    }
}

fn all_whole(object: &Object) -> Option<Vec<usize>> {
    match object {
        Object::Tuple(objects) => objects.iter().map(whole).collect(),
        _ => None,
    }
}
