//! Two streams that one operator reads (Flink `ConnectedStreams`).

use std::{rc::Rc, sync::Arc};

use super::{
    builder::{Code, Connection, Operation},
    stream::DataStream,
};
use crate::{
    codec::Data,
    operator::{Input, TwoInputOperator, erase_two_input},
};

/// Two streams, of different types perhaps, that one operator reads as its two inputs.
pub struct ConnectedStreams<T, U> {
    first: DataStream<T>,
    second: DataStream<U>,
}

impl<T: Data, U: Data> ConnectedStreams<T, U> {
    pub(super) fn new(first: DataStream<T>, second: DataStream<U>) -> Self {
        assert!(Rc::ptr_eq(&first.builder, &second.builder), "connected streams are of one job");
        Self { first, second }
    }

    /// Appends an operator with two inputs; `make` is called once per subtask and attempt. Its parallelism is the larger
    /// of the two streams'.
    pub fn transform<O>(&self, name: &str, make: impl Fn() -> O + Send + Sync + 'static) -> DataStream<O::Out>
    where
        O: TwoInputOperator<First = T, Second = U>,
    {
        let second = self.second.inputs.iter().map(|input| Connection { input: Input::Second, ..input.clone() });
        let operation = Operation {
            name: name.to_owned(),
            uid: None,
            parallelism: self.first.parallelism().max(self.second.parallelism()),
            code: Code::Operator(Arc::new(move || erase_two_input(make()))),
            inputs: self.first.inputs.iter().cloned().chain(second).collect(),
        };
        let node = self.first.builder.borrow_mut().add(operation);
        DataStream::of(self.first.builder.clone(), node)
    }
}
