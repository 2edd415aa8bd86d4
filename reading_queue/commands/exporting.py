"""`counterpart-hub storage export`: one study, or all of its patient's, as DICOM files or as one ZIP archive."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from reading_queue.commands.acting import AsOption, acting_person
from reading_queue.commands.retaining import ReasonOption, SiteArgument, StudyArgument


def export(  # noqa: PLR0913, PLR0917 -- typer makes the command's options of them
    context: typer.Context,
    site: SiteArgument,
    study: StudyArgument,
    target: Annotated[Path, typer.Argument(help="The new folder; or a new file whose name ends in .zip.")],
    reason: ReasonOption,
    login: AsOption,
    transfer_syntax: Annotated[
        str,
        typer.Option(
            "--transfer-syntax",
            help="`received`: each dataset to the bit as it came. `stored`: as it lies here, mostly compressed "
            "without loss. `1.2.840.10008.1.2.1`: decompressed, Explicit VR Little Endian.",
        ),
    ] = "received",
    whole_patient: Annotated[
        bool, typer.Option("--whole-patient", help="All studies that are surely the same patient's at this site.")
    ] = False,
    reports: Annotated[bool, typer.Option("--reports", help="Add the signed reports as JSON and PDF.")] = False,
    names: Annotated[
        bool,
        typer.Option(
            "--names",
            help="Name folders after patient, day and description; without a DICOMDIR, which could not list them.",
        ),
    ] = False,
) -> None:
    """Write a study as plain DICOM files into a new folder, or as a ZIP archive, with a DICOMDIR.

    The SHA-256 of every instance is proved while it is read. What is damaged or missing is named, the rest is exported,
    and the command ends with 1. An instance that has not the wished form is given as it is stored, and named in
    MISSING.TXT. SHA256.TXT holds the digests of all files, for `sha256sum --check`. Names tell nothing of the patient
    unless --names asks for it. Who exported what and why stands in the audit trail.
    """
    from reading_queue.errors import Invalid
    from reading_queue.services.holdings import exporting
    from reading_queue.services.holdings.export_contents import Form

    try:
        form = Form(transfer_syntax)
    except ValueError:
        raise Invalid(f"--transfer-syntax is one of {', '.join(Form)}") from None
    hub, viewer = acting_person(context, login)
    wish = exporting.Wish(site, study, reason, form, whole_patient, with_reports=reports, with_names=names)
    begun = exporting.begin(hub, viewer, wish)
    target = target.absolute()
    if target.suffix.lower() == ".zip":
        begun.write_zip(target)
    else:
        begun.write_folder(target)
    found = begun.contents
    for key, words in found.problems:
        typer.echo(f"! {key}: {words}")
    if found.as_stored:
        typer.echo(f"{len(found.as_stored)} instances are given as they are stored; MISSING.TXT names them")
    typer.echo(f"{found.exported} of {len(found.instances)} instances exported")
    if found.problems:
        raise typer.Exit(1)
