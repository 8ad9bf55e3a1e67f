"""Tests that every importer has to pass."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from ..errors import AccelsimError, BadInput
from ..ir import Workload

MUTATIONS = 200


class ImporterConformance(ABC):
    """Derive from it, say which importer, and give files with what they hold."""

    @abstractmethod
    def importer(self) -> Callable[..., Workload]:
        """The function from a path to a Workload."""

    @abstractmethod
    def files(self) -> Mapping[str, tuple[str, int]]:
        """Texts of files by name, each with the multiply-accumulates of its model."""

    def test_models_have_their_operations(self) -> None:
        for name, (text, macs) in self.files().items():
            assert self.read(name, text).macs == macs, name

    def test_a_model_is_whole(self) -> None:
        """Every tensor that an Einsum reads is an input, a weight or a state, or was written before."""
        for name, (text, _) in self.files().items():
            workload = self.read(name, text)
            assert list(workload.einsums()), f"{name} holds no operator"
            for einsum, times in workload.einsums():
                assert times >= 1
                assert all(access.tensor in workload.tensors for access in (*einsum.inputs, einsum.output))

    def test_it_reads_the_same_twice(self) -> None:
        for name, (text, _) in self.files().items():
            assert self.read(name, text) == self.read(name, text)

    def test_files_that_are_wrong_give_one_clear_error(self) -> None:
        """Characters taken away or replaced: a Workload or an error of accelsim, and nothing else."""
        for name, (text, _) in self.files().items():
            for i in range(MUTATIONS):
                at = (i * 7919) % max(1, len(text))
                wrong = text[:at] + ("", "?", "\n", "-1", "\0")[i % 5] + text[at + 1 + i % 3 :]
                try:
                    self.read(name, wrong)
                except AccelsimError as error:
                    assert str(error).strip()

    def test_a_file_that_is_not_there_is_named(self) -> None:
        name = next(iter(self.files()))
        with TemporaryDirectory() as folder:
            missing = str(Path(folder, name))
            try:
                self.importer()(missing)
            except BadInput as error:
                assert missing in str(error)
            else:
                raise AssertionError("a missing file was read")

    def read(self, name: str, text: str) -> Workload:
        """The model of a text."""
        with TemporaryDirectory() as folder:
            file = Path(folder, name)
            file.write_text(text, encoding="utf-8")
            return self.importer()(str(file))
