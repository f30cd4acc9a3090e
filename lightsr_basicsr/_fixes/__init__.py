"""Fixes for faults of BasicSR, applied to its modules.

A fix is a function that checks for its fault, fixes it if present, and returns whether it did. Its docstring says what
it changes, why, since which version the fault exists, and until when the fix is needed. ``_compat.apply`` runs them
after ``import basicsr``.
"""

from __future__ import annotations

from collections.abc import Callable

from lightsr_basicsr._fixes import (
    devices,
    files,
    keeping,
    loading,
    names,
    pictures,
    pool,
    registries,
    sampling,
    saving,
    shared_validation,
    tracing,
    training,
    validation,
)

FIXES: tuple[Callable[[], bool], ...] = (
    registries.names_of_two_packages,
    names.moved_names,
    names.reader_of_option_files,
    training.resume_on_any_device,
    saving.failed_saves_end_the_run,
    saving.images_are_written_or_reported,
    sampling.exact_total_iter,
    sampling.repeatable_samples,
    sampling.repeatable_steps,
    training.eta_of_the_last_iteration,
    training.schedule_of_the_option_file,
    pool.pool_in_the_training_state,
    keeping.newest_and_best_checkpoints,
    training.one_final_validation,
    training.network_in_one_line,
    devices.distributed_without_gpu,
    devices.wrap_on_cpu,
    devices.realesrgan_on_any_device,
    devices.filter_any_memory_layout,
    files.share_lmdb_environments,
    files.whole_jpeg_quality,
    files.utf8_option_files,
    files.one_copy_of_the_option_file,
    files.archive_of_its_own,
    validation.metrics_of_the_other_images,
    loading.remember_the_file_being_read,
    loading.errors_of_the_prefetcher,
    loading.one_iterator_of_an_epoch,
    validation.no_record_of_nan,
    validation.networks_without_windows,
    tracing.masks_of_any_size,
    tracing.windows_of_any_number,
    pictures.saved_as_read,
    loading.images_that_are_decoded,
    shared_validation.validation_on_all_processes,
)
