<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>
<qgis version="3.22.0" styleCategories="Symbology">
  <renderer-v2 type="singleSymbol" enableorderby="0">
    <symbols>
      <symbol type="line" name="0" alpha="1">
        <layer class="GeometryGenerator" enabled="1">
          <Option type="Map">
            <Option type="QString" name="SymbolType" value="Line"/>
            <Option type="QString" name="geometryModifier" value="CASE WHEN @map_scale &lt;= &quot;shown_to&quot; THEN with_variable(&apos;times&apos;, &quot;exaggeration&quot; * min(1, @map_scale / (maximum(&quot;shown_to&quot;) * 0.0375)), make_line(start_point($geometry), translate(start_point($geometry), &quot;dx_m&quot; * @times, &quot;dy_m&quot; * @times))) END"/>
            <Option type="QString" name="units" value="MapUnit"/>
          </Option>
          <symbol type="line" name="@0@0" alpha="1">
            <layer class="ArrowLine" enabled="1">
              <Option type="Map">
                <Option type="QString" name="arrow_width" value="0.2"/>
                <Option type="QString" name="arrow_start_width" value="0.2"/>
                <Option type="QString" name="arrow_width_unit" value="MM"/>
                <Option type="QString" name="arrow_start_width_unit" value="MM"/>
                <Option type="QString" name="head_length" value="1.1"/>
                <Option type="QString" name="head_thickness" value="0.6"/>
                <Option type="QString" name="head_length_unit" value="MM"/>
                <Option type="QString" name="head_thickness_unit" value="MM"/>
                <Option type="QString" name="is_curved" value="0"/>
              </Option>
              <symbol type="fill" name="@@0@0@0" alpha="1">
                <layer class="SimpleFill" enabled="1">
                  <Option type="Map">
                    <Option type="QString" name="color" value="27,31,36,210"/>
                    <Option type="QString" name="outline_style" value="no"/>
                    <Option type="QString" name="style" value="solid"/>
                  </Option>
                </layer>
              </symbol>
            </layer>
          </symbol>
        </layer>
      </symbol>
    </symbols>
  </renderer-v2>
</qgis>
