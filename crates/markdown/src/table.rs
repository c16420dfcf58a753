//! A table as it comes: one row is held until it is complete.

/// Most cells of a row.
const MOST_COLUMNS: usize = 64;
/// Most text of a row, in bytes.
const MOST_ROW: usize = 8 << 10;

/// A table under way.
#[derive(Default)]
pub(crate) struct Table {
    /// Of the row that was written first; zero before.
    pub(crate) columns: usize,
    row: Vec<String>,
    /// The cell that text goes to.
    pub(crate) cell: Option<String>,
}

impl Table {
    pub(crate) fn begin_cell(&mut self) {
        self.end_cell();
        self.cell = Some(String::new());
    }

    pub(crate) fn end_cell(&mut self) {
        self.row.extend(self.cell.take());
    }

    /// Tells whether the row is more than a table may hold at a time.
    pub(crate) fn is_full(&self) -> bool {
        let bytes: usize = self.row.iter().chain(&self.cell).map(String::len).sum();
        self.row.len() > MOST_COLUMNS || bytes > MOST_ROW
    }

    /// Takes what the row holds.
    pub(crate) fn take(&mut self) -> Vec<String> {
        self.end_cell();
        std::mem::take(&mut self.row)
    }

    /// Ends the row and returns its lines: the first row of a table is its head.
    pub(crate) fn end_row(&mut self) -> Vec<String> {
        let mut row = self.take();
        let first = self.columns == 0;
        if row.is_empty() || first && row.iter().all(|cell| cell.trim().is_empty()) {
            return Vec::new();
        }
        if first {
            self.columns = row.len();
        }
        // Readers drop cells beyond the head's; their text goes into the last that counts.
        let beyond = row.split_off(row.len().min(self.columns));
        if let Some(last) = row.last_mut() {
            for cell in beyond.iter().filter(|cell| !cell.is_empty()) {
                last.push(' ');
                last.push_str(cell);
            }
        }
        let mut lines = vec![format!("| {} |", row.join(" | "))];
        if first {
            lines.push(format!("|{}", " --- |".repeat(self.columns)));
        }
        lines
    }
}
