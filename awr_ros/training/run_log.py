"""The table of a training run, one row at a time."""
import csv


def log(path, row):
    """Append a row to a CSV file, with a header if it is new. A file with other columns is kept under another name.

    row: {column: value}, with 'seen', the samples seen so far.
    """
    if path.exists() and path.read_text().partition('\n')[0] != ','.join(row):
        path.rename(path.with_name(f'{path.stem}-until-{row["seen"]}{path.suffix}'))
    new = not path.exists()
    with open(path, 'a', newline='') as file:
        writer = csv.DictWriter(file, row)
        if new:
            writer.writeheader()
        writer.writerow(row)
